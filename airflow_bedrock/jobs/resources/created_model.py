"""A custom model made by CreateCustomModel: a Nova model that was trained elsewhere, from its checkpoint in S3.

Its creation cannot be stopped.
"""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.resources import Resource, reads

# GetCustomModel, member `modelStatus`
_OUTCOMES = {"Creating": Outcome.RUNNING, "Active": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}

CREATED_MODEL = Resource(
    kind="custom model",
    noun="custom model",
    create_operation="CreateCustomModel",
    name="modelName",
    tags="modelTags",
    get_operation="GetCustomModel",
    identifier="modelIdentifier",
    token_shows=False,
    list_operation="ListCustomModels",
    running=("Creating",),
    status_filter="modelStatus",
    delete_operation="DeleteCustomModel",
    read=reads(
        _OUTCOMES,
        status="modelStatus",
        arn="modelArn",
        name="modelName",
        created="creationTime",
        base_model="baseModelArn",
        failure_message="failureMessage",
    ),
    failed="Custom model {name} was not created: {reason}. Fix the cause, delete it "
    "(BedrockDeleteCustomModelOperator), and clear this task to create it again. {arn}",
    billed="is billed for its storage each month until it is deleted (BedrockDeleteCustomModelOperator)",
    name_taken="Choose another model_name, or delete that model.",
)
