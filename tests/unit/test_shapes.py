"""The checker of shapes reports what the service refuses, and nothing else."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import pytest
from botocore.loaders import Loader
from botocore.model import Shape
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.shapes import (
    UnknownOperationError,
    describe,
    input_shape,
    missing_in_botocore,
    problems,
    safe_pattern,
)
from scripts import oldest_botocore as script

MODEL = botocore.session.get_session().get_service_model("bedrock")
CREATE = MODEL.shape_for("CreateModelCustomizationJobRequest")
MEMBERS = sorted(CREATE.members)  # type: ignore[attr-defined]  # a request is a structure
CONFIGS = CREATE.members["customizationConfig"].members  # type: ignore[attr-defined]  # as above
GOOD: dict[str, Any] = {
    "jobName": "monthly-2026.11",
    "customModelName": "monthly",
    "roleArn": "arn:aws:iam::123456789012:role/bedrock",
    "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
    "trainingDataConfig": {"s3Uri": "s3://bucket/train.jsonl"},
    "outputDataConfig": {"s3Uri": "s3://bucket/out/"},
}


def rules(**changes: Any) -> dict[str, str]:
    return {problem.path: problem.rule for problem in problems(CREATE, GOOD | changes)}


def test_good_request_has_no_problems() -> None:
    """A request that the service takes has no problems, and a None counts as absent."""
    assert rules() == {}
    assert rules(vpcConfig=None) == {}


@pytest.mark.parametrize(
    ("changes", "path", "rule"),
    [
        ({"jobName": None}, "jobName", "Member must not be null"),
        (
            {"jobTags": [{"key": "", "value": "b"}]},
            "jobTags.1.member.key",
            "Member must have length greater than or equal to 1",
        ),
        ({"jobName": "x" * 64}, "jobName", "Member must have length less than or equal to 63"),
        ({"jobName": 5}, "jobName", "Member must be a string"),
        (
            {"customModelName": "dots.are.wrong"},
            "customModelName",
            "Member must satisfy regular expression pattern: ([0-9a-zA-Z][_-]?){1,63}",
        ),
        (
            {"customizationType": "TUNING"},
            "customizationType",
            f"Member must satisfy enum value set: [{', '.join(CREATE.members['customizationType'].enum)}]",  # type: ignore[attr-defined]  # as above
        ),
        ({"jobTags": [{"key": "a", "value": "b"}, {"key": "c"}]}, "jobTags.2.member.value", "Member must not be null"),
        ({"hyperParameters": {"epochCount": 2}}, "hyperParameters.epochCount", "Member must be a string"),
        ({"hyperParameters": {2: "epochs"}}, "hyperParameters.key", "Member must be a string"),
        ({"hyperParameters": "epochCount=2"}, "hyperParameters", "Member must be a map"),
        ({"jobTags": {"key": "a"}}, "jobTags", "Member must be a list"),
        ({"outputDataConfig": "s3://bucket/out/"}, "outputDataConfig", "Member must be a structure"),
        (
            {"customizationConfig": {}},
            "customizationConfig",
            f"Member must have exactly one of these set: [{', '.join(CONFIGS)}]",
        ),
        (
            {"vpcConfig": {"subnetIds": [], "securityGroupIds": ["sg-0123456789abcdef0"]}},
            "vpcConfig.subnetIds",
            "Member must have length greater than or equal to 1",
        ),
    ],
)
def test_each_broken_rule_is_reported(changes: dict[str, Any], path: str, rule: str) -> None:
    """A broken rule is reported with the member's path, in the service's words."""
    assert rules(**changes) == {path: rule}


def test_unknown_member_is_reported_with_the_known_ones() -> None:
    """A member that the service does not know is a problem, and the message helps to find the right one."""
    assert rules(hyperparameters={})["hyperparameters"].startswith("Unknown member; allowed: [jobName,")


def test_boolean_is_no_number() -> None:
    """True is not taken for the number 1, which Python would do."""
    shape = MODEL.operation_model("ListModelCustomizationJobs").input_shape
    assert shape is not None
    assert [str(problem) for problem in problems(shape, {"maxResults": True})] == [
        "Value at 'maxResults' failed to satisfy constraint: Member must be an integer"
    ]
    assert problems(shape, {"maxResults": 1000}) == []
    assert [problem.rule for problem in problems(shape, {"maxResults": 1001})] == [
        "Member must have value less than or equal to 1000"
    ]


def test_describe_counts_and_joins() -> None:
    """Several problems make one message, counted like the service counts them."""
    found = problems(CREATE, GOOD | {"jobName": "!", "roleArn": "me"})
    assert describe(found[:1]) == (
        "1 validation error detected: Value at 'jobName' failed to satisfy constraint: Member must satisfy regular "
        r"expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9\+\-\.])*"
    )
    assert describe(found).startswith("2 validation errors detected: Value at 'jobName'")
    assert "; Value at 'roleArn' failed" in describe(found)


def test_an_exponential_pattern_is_checked_all_the_same() -> None:
    """The job name's pattern as written would keep Python busy for years: 2 ** 61 steps."""
    assert list(rules(jobName="a" + "-" * 61 + "!")) == ["jobName"]


@given(st.from_regex(r"[a-zA-Z0-9](-?[a-zA-Z0-9+\-.]){0,9}", fullmatch=True))
def test_what_the_written_pattern_takes_passes(name: str) -> None:
    """Every name of the written pattern (its unambiguous form, here) is a good job name."""
    assert rules(jobName=name) == {}


@given(st.text(st.sampled_from("aZ0+-._ /é"), min_size=1, max_size=12))
def test_safe_pattern_is_the_written_one(name: str) -> None:
    """The safe pattern and the written one agree on short names, where both can be tried."""
    written = r"[a-zA-Z0-9](-*[a-zA-Z0-9\+\-\.])*"
    safe = safe_pattern(written)
    assert safe is not None
    assert bool(safe.fullmatch(name)) == bool(re.fullmatch(written, name))


def test_pattern_that_python_lacks_is_not_checked() -> None:
    """A pattern with Unicode classes cannot be compiled, and is left to the service."""
    assert safe_pattern(r"\p{L}+") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), JSON, max_size=6))
def test_any_json_is_judged(value: dict[str, Any]) -> None:
    """Whatever JSON comes, the checker answers with problems and does not fall over."""
    assert all(problem.rule for problem in problems(CREATE, value))


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=6))
def test_what_botocore_refuses_is_refused(value: dict[str, Any]) -> None:
    """A request without problems also passes botocore's own, weaker, check."""
    complete = GOOD | value
    if not problems(CREATE, complete):
        report = ParamValidator().validate({k: v for k, v in complete.items() if v is not None}, CREATE)
        assert not report.has_errors(), report.generate_report()


def _shapes() -> Iterator[Shape]:
    for name in MODEL.operation_names:
        shape = MODEL.operation_model(name).input_shape
        if shape is not None:
            yield shape


def test_every_operation_can_be_checked() -> None:
    """The checker knows every type of shape that the service model uses."""
    for shape in _shapes():
        required = set(shape.required_members)
        assert {problem.path for problem in problems(shape, {})} == required


FIRST = tomllib.loads((Path(__file__).parents[2] / "airflow_bedrock/first_botocore.toml").read_text())


@pytest.mark.parametrize("name", FIRST)
def test_what_is_new_in_botocore_is_there_from_that_version_on(name: str) -> None:
    """The table is right about the botocore that is installed: it knows what it should know, and nothing newer."""
    service = "bedrock-runtime" if name.startswith(("Count", "Conv", "Invoke")) else "bedrock"
    assert knows(service, name) == (not missing_in_botocore(name))


def knows(service: str, name: str) -> bool:
    operation, _, path = name.partition("=")[0].partition(".")
    try:
        shape = input_shape(service, operation)
    except UnknownOperationError:
        return False
    for member in path.split(".") if path else ():
        if member not in shape.members:
            return False
        shape = shape.members[member]
    value = name.partition("=")[2]
    return not value or value in shape.enum


def test_a_service_model_of_the_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 finds it in ~/.aws/models too."""
    folder = tmp_path / ".aws" / "models" / "a-preview" / "2026-01-01"
    folder.mkdir(parents=True)
    model = '{"operations": {"Try": {"input": {"shape": "In"}}}, "shapes": {"In": {"type": "structure"}}}'
    (folder / "service-2.json").write_text(model)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert input_shape("a-preview", "Try").type_name == "structure"


def _narrower(old: Any, new: Any) -> Iterator[str]:
    """Yield the paths at which the installed botocore may refuse what the oldest one accepts."""
    before, now = old.metadata, new.metadata
    yield from ("" for key in ("type", "union", "pattern") if before.get(key) != now.get(key))
    yield from (f".{name}" for name in {*new.required_members} - {*old.required_members})
    yield from (f"={value}" for value in old.enum if value not in new.enum)
    if now.get("min", 0) > before.get("min", 0) or now.get("max", math.inf) < before.get("max", math.inf):
        yield ""
    for name, member in old.members.items():
        yield from (f".{name}{one}" for one in _narrower(member, new.members[name]))
    for part in {"member", "key", "value"} & before.keys():
        yield from (f".{part}{one}" for one in _narrower(getattr(old, part), getattr(new, part)))


OPERATIONS = [(service, name) for service, names in script.OPERATIONS.items() for name in names]


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_what_the_oldest_botocore_accepts_the_installed_one_accepts(service: str, operation: str) -> None:
    """Two patterns have changed: of the token, which a DAG file never gives, and of the partitions in a model's ARN."""
    changed = _narrower(input_shape(service, operation, oldest=True), input_shape(service, operation))
    assert {*changed} <= {".clientRequestToken", ".modelArn"}


@pytest.mark.skipif(botocore.__version__ != script.oldest(), reason="another botocore is installed")
def test_the_oldest_botocore_is_in_the_file() -> None:
    """It is the one that the lower limit of boto3 names."""
    assert script.MADE.read_text() == script.made(Loader()), "run: python -m scripts.oldest_botocore"


def test_an_old_botocore_is_named_with_the_one_to_install() -> None:
    """The operation, the botocore that is there, and the first that has it."""
    said = missing_in_botocore("UpdateCustomModelDeployment", "1.39.11")
    assert said == (
        "botocore 1.39.11 does not know UpdateCustomModelDeployment: upgrade boto3 to 1.42.2 or later, "
        "the first that does"
    )
    assert missing_in_botocore("UpdateCustomModelDeployment", "1.42.2") == ""
    with pytest.raises(UnknownOperationError, match="bedrock has no operation Nonsense"):
        input_shape("bedrock", "Nonsense")
