"""Teach a small model the answers of a large one: from the log of a teacher's calls to a student that serves.

Bedrock logs each call if model invocation logging is on. This file lists the logs that the form allows, and the task
checks it: an API call bypasses the form.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_bedrock import form
from airflow_bedrock.datasets.redaction import redact_common_patterns
from airflow_bedrock.operators import (
    BedrockCustomModelDeploymentOperator,
    BedrockDatasetPreparationOperator,
    BedrockDeleteCustomModelDeploymentOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
)
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

BUCKET = "{{ var.value.bedrock_bucket }}"
FOLDER = f"s3://{BUCKET}/distill"
# Where logs may be read: name → bucket ("" for that of the variable bedrock_bucket) and prefix.
LOGS = {"production": ("", "invocation-logs/AWSLogs/")}
# Amazon Bedrock decides which model can teach which; these are pairs of us-east-1.
TEACHERS = ["amazon.nova-pro-v1:0", "amazon.nova-premier-v1:0"]
MOST_CALLS = 18_000  # a job takes 15,000 prompts, and some are held out
STUDENTS = ["amazon.nova-micro-v1:0:128k", "amazon.nova-lite-v1:0:300k"]


def calls(s3: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Read the logged calls, one file after the other."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get("Contents", ()):
            if one["Key"].endswith(".json.gz") and "/data/" not in one["Key"]:  # there lie long texts and images
                packed = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
                yield from map(json.loads, gzip.decompress(packed).splitlines())


def is_lesson(call: dict[str, Any], teacher: str) -> bool:
    """Whether the teacher has answered a single question, as distillation takes it, and not for an evaluation."""
    asked = str(call.get("modelId", "")).endswith(teacher)  # an id, an ARN, or an inference profile
    request = call.get("input", {}).get("inputBodyJson") or {}  # null if it is too large for the log
    evaluated = "airflow-bedrock" in (call.get("requestMetadata") or {})
    return asked and len(request.get("messages", ())) == 1 and not evaluated and not call.get("errorCode")


with DAG(
    dag_id="distill_from_logs",
    description="Distill a teacher's answers from its invocation logs into a student; compare it with its base model.",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": pendulum.duration(seconds=30),
        "pre_execute": form.refuse_unknown_params,  # in a run's conf, which may name any
    },
    tags=["bedrock", "fine-tuning", "example"],
    params={
        "logs": Param(
            next(iter(LOGS)),
            type="string",
            enum=list(LOGS),
            title="Logs",
            description_md="A name in `LOGS` in the DAG file, with its bucket and prefix.",
            section="Data",
        ),
        "teacher": Param(TEACHERS[0], type="string", enum=TEACHERS, title="Teacher", section="Model"),
        "student": Param(STUDENTS[0], type="string", enum=STUDENTS, title="Student", section="Model"),
        "epochs": form.epochs_param(),
        "max_cost": form.max_cost_param(),
        "dry_run": form.dry_run_param(),
        "test_records": form.held_out_param(),
    },
    doc_md="""
### Distill from logs

```
 invocation logs ─▶ pick ─▶ prepare ─▶ customize ─▶ wait ─▶ deploy ─▶ evaluate ─▶ delete_deployment
 (S3, gzip)         the     redact,    DISTILLATION                   the student and its base model,
                    teacher hold out                                  against the teacher's answers
```

The student is trained on the teacher's answers, in which common personal data (e-mail addresses, card and phone
numbers) is replaced. The questions of evaluations are left out, by their metadata. Only the first 18,000 calls are
used, in the order of their file names, which contain the time: for another part, set the prefix of a month in `LOGS`.

| what it needs | where it is set |
|---|---|
| logs that the form allows | `LOGS` in this file |
| model invocation logging to S3, with texts | Amazon Bedrock, Settings |
| a bucket, and a role that Bedrock can assume | variables `bedrock_bucket`, `bedrock_role_arn` |
| AWS credentials and region | connection `aws_default` |

**What it costs on AWS**: one customization job, in which Bedrock may let the teacher answer more prompts, up to
15,000; the storage of the model, by the month, until it is deleted; and the calls of the evaluation.
`airflow-bedrock estimate … --method DISTILLATION --teacher …` estimates it, with the dates of the prices
(docs/cost.md). Another run on the same logs makes no new job.
""",
) as dag:

    @task
    def pick(bucket: str, params: dict[str, Any] | None = None) -> str:
        """Write the calls that the teacher has answered into one file, if this file allows the logs; return it."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from airflow_bedrock.exceptions import BedrockFatalError

        given = params or {}
        if given["logs"] not in LOGS or given["teacher"] not in TEACHERS:
            raise BedrockFatalError(
                f"The logs {given['logs']} of {given['teacher']} are not allowed; allowed: {', '.join(LOGS)}, of "
                f"{', '.join(TEACHERS)}. Nothing was spent. Choose others, or edit the lists in this DAG's file."
            )
        form.refuse_unavailable(given["student"], customization_type="DISTILLATION")
        source, prefix = LOGS[given["logs"]]
        hook = S3Hook()
        found = calls(hook.conn, source or bucket, prefix)
        lessons = list(islice((one for one in found if is_lesson(one, given["teacher"])), MOST_CALLS))
        if not lessons:
            raise BedrockFatalError(
                f"There is no call of {given['teacher']} in s3://{source or bucket}/{prefix}. Nothing was spent. "
                "Choose another teacher, or turn on model invocation logging with texts."
            )
        key = f"distill/calls/{given['logs']}/{given['teacher']}.jsonl"
        hook.load_string("".join(f"{json.dumps(one)}\n" for one in lessons), key, bucket, replace=True)
        return f"s3://{bucket}/{key}"

    prepare = BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=pick(bucket=BUCKET),
        output_uri=FOLDER + "/datasets/{{ params.logs }}/{{ params.teacher.split(':')[0] }}",
        base_model_id="{{ params.student }}",
        customization_type="DISTILLATION",
        test_fraction=0.2,
        redact=redact_common_patterns,
    )

    customize = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="student",
        custom_model_name="student",
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id="{{ params.student }}",
        customization_type="DISTILLATION",
        customization_config={
            "distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": "{{ params.teacher }}"}}
        },
        training_data_uri=prepare.output["training_data_uri"],
        output_data_uri=FOLDER + "/output",
        hyperparameters={"epochCount": "{{ params.epochs }}"},
        max_cost="{{ params.max_cost }}",
        dry_run="{{ params.dry_run }}",
        reuse="dag",
        wait_for_completion=False,
    )

    wait = BedrockModelCustomizationSensor(
        task_id="wait_for_student", job_identifier=customize.output, timeout=24 * 60 * 60
    )

    deploy = BedrockCustomModelDeploymentOperator(
        task_id="deploy",
        model_arn=wait.output["custom_model_arn"],
        deployment_name=wait.output["custom_model_name"],
        deferrable=True,
    )

    evaluate = BedrockModelEvaluationOperator(
        task_id="evaluate",
        test_data_uri=prepare.output["test_data_uri"],
        candidate_model_id=deploy.output,
        # A model is called without the context length that it is trained with: amazon.nova-micro-v1:0.
        baseline_model_id="{{ ':'.join(params.student.split(':')[:2]) }}",
        output_uri=FOLDER + "/evaluations/{{ ti.xcom_pull('wait_for_student')['custom_model_name'] }}",
        answers_uri=FOLDER + "/answers",
        max_records="{{ params.test_records }}",
        max_tokens=512,
        metrics="token_f1",  # in free text, hardly any answer equals the teacher's
    )

    delete_deployment = BedrockDeleteCustomModelDeploymentOperator(
        task_id="delete_deployment", deployment_arn=wait.output["custom_model_name"]
    )
    # The deployment is deleted even if the evaluation, or the deployment itself, has failed.
    [deploy, evaluate] >> delete_deployment.as_teardown(setups=[wait, deploy])
