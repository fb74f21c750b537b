"""A grader for reinforcement fine-tuning: a Lambda function of Local Bedrock."""

from __future__ import annotations

import io
import zipfile
from contextlib import closing

from airflow_bedrock.local import LocalBedrock

_PROGRAM = """
def handler(event, context):
    return [
        {"id": one["id"], "aggregate_reward_score": float(one["messages"][-1]["content"] == one["reference_answer"])}
        for one in event
    ]
"""


def grader(local: LocalBedrock, name: str) -> str:
    """Make a Lambda function that rewards the reference answer; return its ARN."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("grader.py", _PROGRAM)
    with closing(local.client("lambda")) as client:
        return str(
            client.create_function(
                FunctionName=name,
                Runtime="python3.11",
                Role=local.role_arn,
                Handler="grader.handler",
                Code={"ZipFile": packed.getvalue()},
            )["FunctionArn"]
        )
