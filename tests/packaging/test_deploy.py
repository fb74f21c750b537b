"""deploy/: the policies allow no more than they say, and every file there holds the same ones."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import hcl2
import pytest
import yaml
from airflow.models.connection import Connection
from cfnlint import decode  # type: ignore[import-untyped]  # cfn-lint comes without types, as do the next two
from cfnlint.api import lint_file  # type: ignore[import-untyped]
from cfnlint.config import ManualArgs  # type: ignore[import-untyped]

from airflow_bedrock import __version__
from airflow_bedrock.get_provider_info import get_provider_info
from tests.deployed import FOLDER, listed

DEPLOY = FOLDER.parent
TEMPLATE, TERRAFORM = DEPLOY / "mwaa" / "cloudformation.yaml", DEPLOY / "mwaa" / "main.tf"
POLICIES = sorted(file.stem for file in FOLDER.glob("*.json"))
AS_AWS_SAYS = {"logs:DescribeLogGroups", "cloudwatch:PutMetricData", "cloudwatch:GetMetricData"}
"""What AWS's own pages give on every resource: managed Airflow lists all log groups, and a metric has no ARN."""


@cache
def reference() -> Any:
    """AWS's service authorization reference, as cfn-lint brings it."""
    return json.loads(files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text())


def written(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def statements() -> list[Any]:
    named = [(name, one) for name in POLICIES if not name.endswith("-trust") for one in written(name)["Statement"]]
    return [pytest.param(one, id=f"{name}-{one['Sid']}") for name, one in named]


def matching(action: str) -> dict[str, Any]:
    """The actions of the reference that one of a policy means, each with its resource types."""
    service, _, name = action.partition(":")
    known = reference()[service]["Actions"]
    return {one: known[one] for one in known if fnmatchcase(one, name.lower())}


@pytest.mark.parametrize("statement", statements())
def test_resources_are_named_where_the_action_takes_them(statement: Any) -> None:
    """`*` for what takes none, and else ARNs of types that each action takes, by AWS's reference."""
    for action in listed(statement["Action"]):
        found = matching(action)
        assert found, f"AWS has no action {action}"
        types = {type_ for one in found.values() for type_ in one.get("Resources", [])}
        given = listed(statement.get("Resource", statement.get("NotResource")))
        if given == ["*"]:
            assert not types or action in AS_AWS_SAYS, f"{action} takes a resource"
            continue
        known = reference()[action.partition(":")[0]]["Resources"]
        forms = [form for type_ in types for form in known[type_]["ARNFormats"]]
        assert any(re.match(pattern_of(form), arn) for form in forms for arn in given), (action, given)


def pattern_of(form: str) -> str:
    """A regular expression for the beginning of an ARN of this form, whose region and account may be left open."""
    kind = re.match(r"[\w-]+[/:]|", form.split(":", 5)[5])
    return r"arn:\$\{Partition\}:[\w-]+:[^:]*:[^:]*:" + (kind[0] if kind else "")


@pytest.mark.parametrize("name", [name for name in POLICIES if name.endswith("-trust")])
def test_a_service_is_trusted_for_this_account_alone(name: str) -> None:
    """No confused deputy: the account and the resource that the service acts for are both conditions."""
    for statement in written(name)["Statement"]:
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "${Account}"}
        sources = listed(statement["Condition"]["ArnLike"]["aws:SourceArn"])
        assert sources
        assert all(":${Account}:" in source for source in sources)


def test_each_dag_is_run_under_the_policies() -> None:
    """Each example has a test that runs it where IAM is enforced, with what deploy/policies/ allows."""
    tests = [file.read_text() for file in (DEPLOY.parent / "tests" / "integration").glob("test_*.py")]
    enforced = [text for text in tests if "enforce_iam=True" in text and "Deployed(" in text]
    dags = {file.stem for file in (DEPLOY.parent / "dags").glob("*.py")}
    assert {dag for dag in dags if not any(dag in text for text in enforced)} == set()


LONGEST = {
    **{"Partition": "aws-us-gov", "Region": "ap-southeast-99", "Account": "123456789012", "Environment": "e" * 80},
    **{"BedrockRole": "r" * 64, "Bucket": "b" * 63, "SourceBucket": "s" * 63},
}


def test_the_policies_are_as_short_as_iam_wants_them() -> None:
    """6,144 characters of a managed policy, 10,240 of all inline ones of a role, without spaces.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    plain = {name: json.dumps(written(name), separators=(",", ":")) for name in ("airflow", "mwaa-role")}
    size = {name: len(Template(text).substitute(LONGEST)) for name, text in plain.items()}
    assert size["airflow"] <= 6144
    assert sum(size.values()) <= 10_240


def test_cloudformation_is_as_cfn_lint_wants_it() -> None:
    """No error and no warning."""
    assert lint_file(TEMPLATE, config=ManualArgs(regions=["us-east-1"])) == []


INTRINSIC = {
    "AWS::Partition": "${Partition}",
    "AWS::Region": "${Region}",
    "AWS::AccountId": "${Account}",
    "DataBucket": "${Bucket}",
    "SourceBucket": "${SourceBucket}",
    "Name": "${Environment}",
}


def resolved(value: Any) -> Any:
    """A part of the template with the policies' placeholders in place of CloudFormation's functions."""
    match value:
        case {"Ref": name}:
            return INTRINSIC[name]
        case {"Fn::Sub": text}:
            plain = text.replace("${Name}-bedrock", "${BedrockRole}")
            return re.sub(r"\$\{([\w:]+)\}", lambda found: INTRINSIC.get(found[1], found[0]), plain)
        case dict():
            return {key: resolved(one) for key, one in value.items()}
        case list():
            return [resolved(one) for one in value]
    return value


def test_cloudformation_has_the_same_policies() -> None:
    """Word for word those of deploy/policies/."""
    template, _ = decode.decode(str(TEMPLATE))
    found = {name: resolved(template["Resources"][name]["Properties"]) for name in ("BedrockRole", "AirflowRole")}
    policies = {
        name: {one["PolicyName"]: one["PolicyDocument"] for one in role["Policies"]} for name, role in found.items()
    }
    assert policies == {
        "BedrockRole": {"data": written("bedrock-role")},
        "AirflowRole": {"managed-airflow": written("mwaa-role"), "bedrock": written("airflow")},
    }
    assert found["BedrockRole"]["AssumeRolePolicyDocument"] == written("bedrock-role-trust")
    assert found["AirflowRole"]["AssumeRolePolicyDocument"] == written("mwaa-role-trust")


def test_the_page_gives_the_template_what_it_asks_for() -> None:
    """docs/mwaa.md sets every parameter that has no default, and none that is not there."""
    parameters = decode.decode(str(TEMPLATE))[0]["Parameters"]
    page = (DEPLOY.parent / "docs" / "mwaa.md").read_text()
    [overrides] = re.findall(r"--parameter-overrides (.*?)\$@", page, flags=re.DOTALL)
    given = set(re.findall(r"(\w+)=", overrides)) | set(re.findall(r"^stack (\w+)=", page, flags=re.MULTILINE))
    assert {name for name in parameters if "Default" not in parameters[name]} <= given <= set(parameters)


def test_terraform_reads_the_same_policies() -> None:
    """The syntax is right; every policy is read, and every placeholder in them has a value."""
    text = TERRAFORM.read_text()
    parsed = hcl2.loads(text)
    roles = {
        name for one in parsed["resource"] for kind in one for name in one[kind] if kind.strip('"') == "aws_iam_role"
    }
    assert {name.strip('"') for name in roles} == {"bedrock", "airflow"}
    # Attached by those whose DAGs need them.
    optional = {"throughput-and-copies", "graders", "sharing", "new-data", "idle-cost", "at-scale"}
    assert {name for name in POLICIES if f"{name}.json" in text} == set(POLICIES) - optional
    [local] = parsed["locals"]
    values = dict.fromkeys(local["values"], "x")
    for name in POLICIES:
        Template((FOLDER / f"{name}.json").read_text()).substitute(values)


def test_the_wheel_is_this_version_s() -> None:
    """What `make wheel` builds is what managed Airflow installs, under the pins of its image."""
    text = (DEPLOY / "mwaa" / "requirements.txt").read_text()
    wheel = f"airflow_bedrock-{__version__}-py3-none-any.whl"
    assert set(re.findall(r"airflow_bedrock-\S+\.whl", text)) == {wheel}
    installed = [line for line in text.splitlines() if not line.startswith("#")]
    assert installed == ["--constraint ${AIRFLOW_CONSTRAINTS_FILE}", f"/usr/local/airflow/plugins/{wheel}"]


def test_helm_installs_the_image_that_compose_builds() -> None:
    """The same tag, and a role for both components that call AWS."""
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yaml").read_text())
    assert compose["x-airflow-common"]["image"] == f"airflow-bedrock:{values['defaultAirflowTag']}"
    assert values["defaultAirflowTag"].startswith(f"{values['airflowVersion']}-")
    for component in (values["workers"]["celery"], values["triggerer"]):
        assert "eks.amazonaws.com/role-arn" in component["serviceAccount"]["annotations"]


def test_helm_sets_what_is_read() -> None:
    """Options of this package, variables of the example DAGs, and a connection without credentials."""
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    given = {one["name"]: one["value"] for one in values["env"]}
    connection = Connection(uri=given.pop("AIRFLOW_CONN_AWS_DEFAULT"))
    assert (connection.conn_type, connection.login, connection.password) == ("aws", None, None)
    assert connection.extra_dejson.keys() == {"region_name"}
    options = {
        f"AIRFLOW__{section}__{option}".upper()
        for section, described in get_provider_info()["config"].items()
        for option in described["options"]
    }
    dags = "".join(file.read_text() for file in (DEPLOY.parent / "dags").glob("*.py"))
    variables = {f"AIRFLOW_VAR_{name}".upper() for name in re.findall(r"var\.value\.(\w+)", dags)}
    assert given.keys() <= options | variables


def test_astro_installs_the_wheel_of_the_page() -> None:
    """From where docs/kubernetes.md copies it to; no index is asked for this package."""
    commands = [line for line in (DEPLOY / "astro" / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert [line.split()[0] for line in commands] == ["FROM", "RUN"]
    assert commands[1].endswith("include/airflow_bedrock-*.whl")
    assert "`include`" in (DEPLOY.parent / "docs" / "kubernetes.md").read_text()


def test_no_path_of_a_file_is_wrong() -> None:
    """Each file of deploy/ that a page names is there."""
    for page in (DEPLOY.parent / "docs").glob("*.md"):
        for name in re.findall(r"deploy/[\w./-]+\.\w+", page.read_text()):
            assert (DEPLOY.parent / Path(name)).exists(), (page.name, name)
