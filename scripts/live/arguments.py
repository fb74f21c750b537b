"""The arguments of the DAGs' tasks, from a variable that the scenario edits, over a connection to its account."""

from __future__ import annotations

from typing import Any

RANDOM = "marked_failed_at_random_moments"
"""A scenario with several DAGs, whose ids begin so."""


def job_arguments(scenario: str, **more: Any) -> dict[str, Any]:
    """Return the arguments of an operator that asks for a job.

    :param scenario: its name, which is also that of its connection and of its variable.
    """
    variable = f"var.json.{scenario}"
    bucket = f"s3://{{{{ {variable}.bucket }}}}"
    given = {
        "aws_conn_id": scenario,
        "job_name": scenario,
        "custom_model_name": scenario,
        "role_arn": f"{{{{ {variable}.role_arn }}}}",
        "base_model_id": "amazon.nova-micro-v1:0:128k",
        "training_data_uri": f"{bucket}/train.jsonl",
        "output_data_uri": f"{bucket}/output",
        "hyperparameters": {"epochCount": f"{{{{ {variable}.epochs }}}}"},
        "retries": 3,
        "retry_delay": 1,
    }
    return given | more
