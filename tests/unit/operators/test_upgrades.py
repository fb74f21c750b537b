"""Names and tokens of what is paid for are the same in every release: another one is another bill after an upgrade."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_bedrock import operators
from airflow_bedrock.customization.identity import TaskKey

TASK_KEY = TaskKey(dag_id="dag", task_id="task", run_id="run-1", environment="prod", ask=3, retries=3)
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
_WHO_AND_ASK = "0007a0e9ba75e9f07653-124f0462d9f30989762e-7694e240fee1c391ac53"
ROLE = "arn:aws:iam::123456789012:role/bedrock"


@pytest.mark.parametrize(
    ("operator", "arguments", "name", "what"),
    [
        (
            "BedrockModelCopyOperator",
            {"source_model_arn": MODEL, "target_model_name": "copy"},
            "copy-ts5a7uxo-shhdadud",
            "6763b3662e4741774b5f",
        ),
        (
            "BedrockModelImportOperator",
            {"job_name": "import", "imported_model_name": "m", "role_arn": ROLE, "model_data_uri": "s3://bucket/model"},
            "import-ts5a7uxo-shhdadud",
            "7d9f30408d9b41bfe5ef",
        ),
        (
            "BedrockCustomModelOperator",
            {"model_name": "model", "model_data_uri": "s3://bucket/model", "role_arn": ROLE},
            "model-ts5a7uxo-shhdadud",
            "55e56d2f8211df820ea8",
        ),
        (
            "BedrockProvisionedModelThroughputOperator",
            {"model_units": 1, "provisioned_model_name": "load", "model_id": MODEL},
            "load",
            "bf26d90cc83c5a0ed42a",
        ),
        (
            "BedrockCustomModelDeploymentOperator",
            {"model_arn": MODEL, "deployment_name": "router"},
            "router",
            "ca23304c55a4b0fe58e7",
        ),
    ],
)
def test_an_upgrade_changes_no_name_and_no_token(
    operator: str, arguments: dict[str, Any], name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry, and a Clear with the same request, find what an earlier release has made."""
    kind = getattr(operators, operator)
    if hasattr(kind, "_data"):
        monkeypatch.setattr(kind, "_data", lambda self: [{"uri": "s3://bucket/model", "objects": 2, "digest": "ab"}])
    with DAG("dag"):
        identity = kind(task_id="task", **arguments)._identity(TASK_KEY, {"the": "request"})
    assert (identity.job_name(), identity.token()) == (name, f"{_WHO_AND_ASK}-{what}-1")
