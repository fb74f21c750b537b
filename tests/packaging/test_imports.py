"""What a DAG file that uses the operator makes Airflow load, at each parse."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.packaging.conftest import Run

HEAVY = {"aiobotocore", "duckdb", "moto", "numpy", "pandas", "s3fs", "sacrebleu", "scipy", "sklearn"}

PROGRAM = """
import json, sys
import boto3.session, botocore.session

def created(*args, **kwargs):
    raise AssertionError("an import created an AWS client")

boto3.session.Session.client = boto3.session.Session.resource = botocore.session.Session.create_client = created
from {module} import {name}
json.dump(sorted(sys.modules), sys.stdout)
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("airflow_bedrock.operators", "BedrockModelCustomizationOperator"),
        ("airflow_bedrock.sensors", "BedrockModelCustomizationSensor"),
        ("airflow_bedrock.triggers", "BedrockModelCustomizationTrigger"),
        ("airflow_bedrock.hooks", "BedrockHook"),
    ],
)
def test_importing_is_light(run: Run, module: str, name: str) -> None:
    """Importing what DAG files name loads nothing heavy, nothing of Local Bedrock, and creates no AWS client."""
    loaded = set(json.loads(run(sys.executable, "-c", PROGRAM.format(module=module, name=name)).stdout))
    assert module in loaded
    assert not loaded & HEAVY
    assert not any(each.startswith("airflow_bedrock.local") for each in loaded)


def test_other_operators_stay_unloaded(run: Run) -> None:
    """A DAG that uses one operator does not load the modules that define the others."""
    program = PROGRAM.format(module="airflow_bedrock.operators", name="BedrockModelCustomizationOperator")
    loaded = json.loads(run(sys.executable, "-c", program).stdout)
    others = {"custom_model", "dataset", "deployment", "evaluation", "orphans"}
    assert not {f"airflow_bedrock.operators.{other}" for other in others} & set(loaded)
