"""What a DAG file that uses the operator makes Airflow load, at each parse."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

if TYPE_CHECKING:
    from pathlib import Path

    from tests.packaging.conftest import Run

HEAVY = (
    "aiobotocore",
    "altair",
    "boto3",
    "duckdb",
    "moto",
    "numpy",
    "pandas",
    "rouge_score",
    "s3fs",
    "sacrebleu",
    "scipy",
    "sklearn",
    "airflow.providers.amazon.aws",
    "airflow_bedrock.local",
)

PROGRAM = """
import json, sys
import airflow.sdk

before = set(sys.modules)
{program}
json.dump(sorted(set(sys.modules) - before), sys.stdout)
"""


def loaded_by(run: Run, program: str, **env: str) -> set[str]:
    """The modules that a program loads beside Airflow's own interface."""
    ended = run(sys.executable, "-c", PROGRAM.format(program=program), env=env)
    return set(json.loads(ended.stdout.splitlines()[-1]))


def heavy_of(loaded: set[str]) -> set[str]:
    """What only a task that runs needs; of botocore, all but the names of its errors."""
    heavy = {one for one in loaded if any(one == heavy or one.startswith(f"{heavy}.") for heavy in HEAVY)}
    aws = {one for one in loaded if one.startswith("botocore.") and not one.startswith("botocore.vendored")}
    return heavy | (aws - {"botocore.exceptions"})


@pytest.mark.parametrize("package", ["airflow_bedrock.operators", "airflow_bedrock.sensors"])
def test_importing_is_light(run: Run, package: str) -> None:
    """What DAG files name loads nothing that is needed only when the task runs: no boto3, no amazon provider."""
    loaded = loaded_by(run, f"from {package} import *")
    assert f"{package}.customization" in loaded
    assert not heavy_of(loaded)
    core = {one for one in loaded if one.startswith(("airflow_bedrock.customization.", "airflow_bedrock.datasets."))}
    assert core <= {
        f"airflow_bedrock.{one}" for one in ("customization.request", "datasets.choices", "datasets.errors")
    }


def test_parsing_is_light(run: Run, checkout: Path, tmp_path: Path) -> None:
    """The example DAGs are made, and their literals are checked, with no more, but for AWS's own operators."""
    program = f"""
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({str(tmp_path)!r})
for file in Path({str(checkout / "dags")!r}).glob("*.py"):
    if "airflow.providers.amazon.aws.operators" not in file.read_text():
        bag.process_file(str(file), safe_mode=False)
assert not bag.import_errors, bag.import_errors
assert [task for dag in bag.dags.values() for task in dag.tasks if task.task_type.startswith("Bedrock")]
"""
    loaded = loaded_by(run, program)
    assert "airflow_bedrock.operators.customization" in loaded
    assert not heavy_of(loaded)


def test_importing_the_hooks_creates_no_client(run: Run) -> None:
    """They load the amazon provider, and call nothing."""
    program = """
import boto3.session, botocore.session

def created(*args, **kwargs):
    raise AssertionError("an import created an AWS client")

boto3.session.Session.client = boto3.session.Session.resource = botocore.session.Session.create_client = created
from airflow_bedrock.hooks import BedrockHook
"""
    assert "airflow_bedrock.hooks.bedrock" in loaded_by(run, program)


OURS = {
    *("_lazy", "base_models", "compat", "configuration", "decoding", "exceptions", "links", "shapes"),
    *("customization", "customization.model_rules", "customization.request", "hooks", "jobs", "spend"),
    *(f"operators.{name}" for name in ("arguments", "base", "customization", "job_request", "paid", "spending")),
}
"""What of this package the task below needs at each parse. Each module more takes a hundredth of the parse."""


def test_a_parse_loads_and_reads_little(run: Run) -> None:
    """A DAG of one task loads these modules, and reads nothing of botocore: neither its modules nor its data."""
    program = """
def opened(event, arguments):
    assert event != "open" or "/botocore/" not in str(arguments[0]), arguments

sys.addaudithook(opened)
from airflow_bedrock.operators import BedrockModelCustomizationOperator

BedrockModelCustomizationOperator(
    task_id="customize",
    job_name="router",
    custom_model_name="router",
    role_arn="arn:aws:iam::123456789012:role/Bedrock",
    base_model_id="amazon.nova-micro-v1:0:128k",
    training_data_uri="s3://bucket/train.jsonl",
    output_data_uri="s3://bucket/output/",
    hyperparameters={"epochCount": 2},
    vpc_config={"subnet_ids": ["subnet-01234567"], "security_group_ids": ["sg-01234567"]},
)
"""
    loaded = loaded_by(run, program)
    ours = {one.removeprefix("airflow_bedrock.") for one in loaded if one.startswith("airflow_bedrock.")}
    assert ours - {"operators", "get_provider_info"} == OURS
    assert not {one for one in loaded if one.partition(".")[0] == "botocore"}


@pytest.mark.skipif(Version(airflow_version) < Version("3.1"), reason="Airflow < 3.1 has no views")
def test_the_views_call_no_aws(run: Run, checkout: Path) -> None:
    """Nor do they load what could: the API server asks Bedrock only where ``[bedrock] live_aws_conn_id`` is set."""
    program = """
from tests.unit.test_views import ARN, page_of_a_job
assert "InProgress" in page_of_a_job(ARN + "1")
"""
    loaded = loaded_by(run, program, PYTHONPATH=str(checkout))
    assert "airflow_bedrock.plugin.live" in loaded
    assert not heavy_of(loaded)


def test_a_failing_check_loads_no_airflow(run: Run, tmp_path: Path) -> None:
    """Airflow takes seconds to load, and writes its configuration into the home directory."""
    command = f"['check', {str(tmp_path / 'none.jsonl')!r}, '--model', 'amazon.nova-micro-v1:0:128k']"
    ended = run(
        sys.executable,
        "-c",
        f"import sys; from airflow_bedrock.cli import main; print(main({command}), 'airflow' in sys.modules)",
    )
    assert ended.stdout == "2 False\n"
