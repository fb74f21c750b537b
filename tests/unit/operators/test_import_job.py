"""Models that were trained elsewhere: each argument is a member of the request that is made."""

from __future__ import annotations

from typing import Any

from airflow_bedrock.operators import BedrockCustomModelOperator, BedrockModelImportOperator

ROLE, KEY, FOLDER = (
    "arn:aws:iam::123456789012:role/bedrock",
    "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
    "s3://bucket/m",
)


def test_the_request_of_a_custom_model() -> None:
    """Encrypted by the key that was given; what was not given is left out."""
    named = {"modelName": "m", "modelSourceConfig": {"s3DataSource": {"s3Uri": FOLDER}}}
    task = BedrockCustomModelOperator(
        task_id="t", model_name="m", model_data_uri=FOLDER, role_arn=ROLE, kms_key_arn=KEY
    )
    assert task._members() == {**named, "roleArn": ROLE, "modelKmsKeyArn": KEY}
    assert BedrockCustomModelOperator(task_id="t", model_name="m", model_data_uri=FOLDER)._members() == named


def test_the_request_of_an_import() -> None:
    """Encrypted by the key, and read through the network, that were given."""
    named = {
        "jobName": "j",
        "importedModelName": "m",
        "roleArn": ROLE,
        "modelDataSource": {"s3DataSource": {"s3Uri": FOLDER}},
    }
    vpc = {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    given: dict[str, Any] = {"job_name": "j", "imported_model_name": "m", "role_arn": ROLE, "model_data_uri": FOLDER}
    task = BedrockModelImportOperator(task_id="t", kms_key_id=KEY, vpc_config=vpc, **given)
    assert task._members() == {**named, "importedModelKmsKeyId": KEY, "vpcConfig": vpc}
    assert BedrockModelImportOperator(task_id="t", **given)._members() == named
