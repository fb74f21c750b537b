"""Prepare training data from a source that is too large for a worker: select where the data is, prepare the selection.

The amazon provider's operators run the selection; copy this file and delete the engine that you do not use.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator
from airflow.providers.amazon.aws.operators.s3 import S3DeleteObjectsOperator
from airflow.providers.amazon.aws.transfers.local_to_s3 import LocalFilesystemToS3Operator
from airflow.sdk import DAG, Param, task

from airflow_bedrock import form
from airflow_bedrock.datasets.at_scale import SPARK_JOB, athena_query
from airflow_bedrock.operators import BedrockDatasetPreparationOperator

BUCKET = "{{ var.value.bedrock_bucket }}"
FOLDER = "at_scale/{{ params.name }}"
SELECTED = f"s3://{BUCKET}/{FOLDER}/selected/"
JOB = f"{FOLDER}/select_records.py"
BASE_MODELS = form.text_models(validation=False, on_demand=False)
SOURCE_BUCKETS = ["bucket"]  # those that the form allows; the task checks them too, since an API call bypasses the form

with DAG(
    dag_id="prepare_at_scale",
    description="Select training records with Athena or Spark, then prepare them for a base model.",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,  # each run replaces the selection of the one before
    default_args={"pre_execute": form.refuse_unknown_params},  # in a run's conf, which may name any
    tags=["bedrock", "fine-tuning", "example"],
    params={
        "name": Param(
            "tickets", type="string", pattern=r"^[a-z0-9-]+\Z", title="Name of the dataset", section="Dataset"
        ),
        "engine": Param("athena", type="string", enum=["athena", "spark"], title="Engine", section="Dataset"),
        "records": Param(
            "SELECT question AS prompt, answer AS completion FROM tickets WHERE stars > 3",
            type="string",
            minLength=1,
            title="Records",
            description_md="A query that returns the columns `prompt` and `completion`.",
            section="Athena",
        ),
        "database": Param("default", type="string", minLength=1, title="Database", section="Athena"),
        "fraction": Param(
            1.0,
            type="number",
            exclusiveMinimum=0,
            maximum=1,
            title="Fraction of the questions",
            description_md="The same data gives the same sample, and a smaller sample is part of a larger one.",
            section="Athena",
        ),
        "source": Param(
            "s3://bucket/tickets/",
            type="string",
            pattern="^s3://[^,]+$",
            title="Source",
            description_md="Parquet files, in a bucket of `SOURCE_BUCKETS` in the DAG file.",
            section="Spark",
        ),
        "prompt_field": Param("question", type="string", minLength=1, title="Prompt field", section="Spark"),
        "completion_field": Param("answer", type="string", minLength=1, title="Completion field", section="Spark"),
        "max_records": Param(
            18_000, type="integer", minimum=10, title="Maximum number of records", section="Preparation"
        ),
        "base_model": form.base_model_param(BASE_MODELS),
    },
    doc_md="""
### Prepare at scale

```
                         ┌─ select_with_athena ─┐
allowed ─ clear ─ engine ┤                      ├─ prepare ─ s3://…/prepared/train.jsonl, test.jsonl, manifest.json …
                         └─ copy_job ─ select_with_spark ─┘
                                        │
     warehouse (Glue catalog, S3) → s3://…/selected/*.gz: JSON Lines with prompt and completion
```

Terabytes stay where they are: Athena (UNLOAD) or Spark (EMR Serverless) reads them, and writes the selected records to
a folder on S3. The worker then drops records that the base model would not accept, keeps one of those with the same
question, and splits them. The Spark job's splits and samples are the same as the worker's, record by record.

**What it costs**: no customization job is made. Athena bills the bytes that its query scans, EMR Serverless the vCPU,
memory and storage of its workers by the second: [Athena](https://aws.amazon.com/athena/pricing/),
[EMR Serverless](https://aws.amazon.com/emr/pricing/). The worker needs disk space of three times the size of
the selected records.

It needs the variables `bedrock_bucket` and, for Spark, `emr_application_id` and `emr_role_arn`, and the connection
`aws_default`. Spark reads only the `SOURCE_BUCKETS` in this file; Athena's query can read everything
that the connection can, and must not name a location on S3.
docs/datasets.md has more.
""",
) as dag:
    # Athena writes only to an empty folder, and an earlier run's selection must not be prepared again.
    clear = S3DeleteObjectsOperator(task_id="clear", bucket=BUCKET, prefix=f"{FOLDER}/selected/")

    @task
    def allowed(params: dict[str, Any] | None = None) -> str:
        """Return the first task of the requested engine, if this file allows its source."""
        from airflow_bedrock.exceptions import BedrockFatalError

        given = params or {}
        if given["engine"] == "athena":
            if "s3:" in given["records"].lower():  # an UNLOAD in it would write to another bucket
                raise BedrockFatalError(
                    "The query must not name a location on S3. Nothing was selected. Query only tables."
                )
            return "select_with_athena"
        if not given["source"].startswith(tuple(f"s3://{bucket}/" for bucket in SOURCE_BUCKETS)):
            raise BedrockFatalError(
                f"{given['source']} is not allowed; allowed buckets: {', '.join(SOURCE_BUCKETS)}. Nothing was "
                "selected. Choose another source, or edit SOURCE_BUCKETS in this DAG's file."
            )
        return "copy_job"

    @task.branch
    def engine(first: str) -> str:
        return first

    athena = AthenaOperator(
        task_id="select_with_athena",
        query=athena_query(SELECTED),
        database="{{ params.database }}",
        output_location=f"s3://{BUCKET}/{FOLDER}/athena/",
        sleep_time=5,
        retries=0,  # a second try would find the files of the first: clear the task `clear` with it
    )

    copy_job = LocalFilesystemToS3Operator(
        task_id="copy_job", filename=str(SPARK_JOB), dest_bucket=BUCKET, dest_key=JOB, replace=True
    )

    spark = EmrServerlessStartJobOperator(
        task_id="select_with_spark",
        application_id="{{ var.value.get('emr_application_id', '') }}",
        execution_role_arn="{{ var.value.get('emr_role_arn', '') }}",
        job_driver={
            "sparkSubmit": {
                "entryPoint": f"s3://{BUCKET}/{JOB}",
                "entryPointArguments": [
                    "--source={{ params.source }}",
                    "--source-format=parquet",
                    "--prompt-field={{ params.prompt_field }}",
                    "--completion-field={{ params.completion_field }}",
                    "--max-records={{ params.max_records }}",
                    f"--output={SELECTED}",
                ],
            }
        },
        deferrable=True,
    )

    prepare = BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=SELECTED,
        output_uri=f"s3://{BUCKET}/{FOLDER}/prepared",
        base_model_id="{{ params.base_model }}",
        max_records="{{ params.max_records }}",
        trigger_rule="none_failed_min_one_success",
    )

    first: Any = allowed()
    first >> clear >> engine(first) >> [athena, copy_job]
    copy_job >> spark
    [athena, spark] >> prepare
