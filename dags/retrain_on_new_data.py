"""Retrain when the data has changed, not on a schedule: each content that has settled trains one model, once.

S3 sends an event for each object to EventBridge, EventBridge to an SQS queue, and an asset's watcher to the scheduler.
Without a queue (the environment variable BEDROCK_NEW_DATA_QUEUE), and on an Airflow without watchers, the DAG reads the
folder itself every quarter of an hour.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, Param, task

from airflow_bedrock import form
from airflow_bedrock.operators import BedrockDatasetPreparationOperator, BedrockModelCustomizationOperator
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

BUCKET = "{{ var.value.bedrock_bucket }}"
DATA = "new-data/"  # people and programs write here
STATE = "retrain-on-new-data/"  # and this DAG here
BASE_MODELS = form.text_models()
CLAIMED = (
    "Run {run} has claimed this content: nothing was spent here. If that run has failed, clear it; if it was deleted, "
    f"delete {STATE}claims/{{digest}}."
)
NEW_DATA = Asset("support-router-data")
SCHEDULE: Any = timedelta(minutes=15)

if QUEUE := os.environ.get("BEDROCK_NEW_DATA_QUEUE"):  # its URL; a watcher takes no template
    from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger
    from airflow.sdk import AssetWatcher

    # A message stays in the queue until a run has taken it: one that a killed triggerer had received arrives again.
    watching = SqsSensorTrigger(
        QUEUE, max_messages=10, visibility_timeout=300, waiter_delay=20, delete_message_on_reception=False
    )
    NEW_DATA = Asset("support-router-data", watchers=[AssetWatcher(name="new-data", trigger=watching)])
    SCHEDULE = [NEW_DATA]


def content(s3: Any, bucket: str) -> str:
    """Return a digest of the folder's content: the same objects give the same one, whenever they were written."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=DATA)
    objects = sorted((one["Key"], one["ETag"]) for page in pages for one in page.get("Contents", ()) if one["Size"])
    return hashlib.sha256(json.dumps(objects).encode()).hexdigest()[:16] if objects else ""


def claimed_by(s3: Any, bucket: str, digest: str) -> str | None:
    """Return the id of the run that trains this content, has trained it, or has failed; None if no run has begun.

    A run that has failed keeps its content, since another run might pay again: a person clears it.
    """
    try:
        return str(s3.get_object(Bucket=bucket, Key=f"{STATE}claims/{digest}")["Body"].read().decode())
    except s3.exceptions.NoSuchKey:
        return None


with DAG(
    dag_id="retrain_on_new_data",
    description="Retrain the support router when its data has changed and then stayed the same for a while.",
    schedule=SCHEDULE,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={
        "retries": 2,
        "retry_delay": pendulum.duration(seconds=30),
        "pre_execute": form.refuse_unknown_params,  # in a run's conf, which may name any
    },
    tags=["bedrock", "fine-tuning", "example"],
    params={
        "window": Param(
            15.0,
            type="number",
            exclusiveMinimum=0,
            maximum=720,
            title="Minutes without a change",
            description_md="The run trains after this time without a change. At most 720: half of the task's timeout.",
            section="Data",
        ),
        "base_model": form.base_model_param(BASE_MODELS),
        "max_cost": form.max_cost_param(),
        "dry_run": form.dry_run_param(
            "Log in `customize` what the run would do and cost, claim nothing, and stop there."
        ),
    },
    doc_md="""
### Retrain on new data

```
 S3 ─▶ EventBridge ─▶ SQS ─▶ asset's watcher ─▶ run: settled? ─▶ prepare ─▶ claim ─▶ customize ─▶ wait
                    (or a sensor that reads the folder)                    one run a content
```

Of several runs for the same data, one continues; the others are skipped.

**What it costs on AWS**: one customization job each time the data has settled, and the monthly storage of its model.

The next steps (evaluate against the champion, gate, promote) are those of `retrain_support_router`. It needs the
variables `bedrock_bucket` and `bedrock_role_arn`, and the connection `aws_default`. docs/retraining.md has more.
""",
) as dag:

    @task
    def take_messages(triggering_asset_events: Any = None, params: dict[str, Any] | None = None) -> int:
        """Delete the messages that have triggered this run from the queue, and return how many there were."""
        from airflow.providers.amazon.aws.hooks.sqs import SqsHook

        events = [event for found in (triggering_asset_events or {}).values() for event in found]
        batches = [event.extra["payload"]["message_batch"] for event in events if event.extra.get("from_trigger")]
        for batch in batches:
            entries = [{"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]} for number, one in enumerate(batch)]
            SqsHook().conn.delete_message_batch(QueueUrl=QUEUE, Entries=entries)
        form.refuse_unavailable((params or {})["base_model"])
        return sum(map(len, batches))

    @task.sensor(poke_interval=20, timeout=24 * 60 * 60, mode="reschedule")
    def settled(bucket: str, params: dict[str, Any] | None = None, dag_run: Any = None) -> Any:
        """Wait until the content has stayed the same for the window; return its digest. Skip content that is claimed.

        An object records the content and its time, for all runs, and for a worker that replaces a killed one.
        """
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        from airflow.sdk import PokeReturnValue

        from airflow_bedrock.compat import AirflowSkipException

        s3 = S3Hook().conn
        if not (now := content(s3, bucket)):
            raise AirflowSkipException("There is no data to train on: nothing was spent.")
        try:
            seen = s3.get_object(Bucket=bucket, Key=f"{STATE}seen")
            before, since = seen["Body"].read().decode(), seen["LastModified"]
        except s3.exceptions.NoSuchKey:
            before = None
        if before != now:
            s3.put_object(Bucket=bucket, Key=f"{STATE}seen", Body=now.encode())
        if (run := claimed_by(s3, bucket, now)) not in (None, dag_run.run_id):
            raise AirflowSkipException(CLAIMED.format(run=run, digest=now))
        if before != now:
            return PokeReturnValue(is_done=False)
        left = timedelta(minutes=(params or {})["window"]) - (datetime.now(UTC) - since)
        return PokeReturnValue(is_done=left <= timedelta(0), xcom_value=now)

    @task
    def claim(digest: str, bucket: str, dag_run: Any = None, params: dict[str, Any] | None = None) -> None:
        """Skip if another run trains this content, or if it has changed, which another run will train."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        from botocore.exceptions import ClientError

        from airflow_bedrock.compat import AirflowSkipException

        s3 = S3Hook().conn
        if content(s3, bucket) != digest:
            raise AirflowSkipException("The data has changed again: nothing was spent.")
        if params and params["dry_run"]:
            return  # a run that pays may have this content
        place = {"Bucket": bucket, "Key": f"{STATE}claims/{digest}"}
        try:
            s3.put_object(**place, Body=dag_run.run_id.encode(), IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            if (run := claimed_by(s3, bucket, digest)) != dag_run.run_id:  # else by an earlier try, or before a Clear
                raise AirflowSkipException(CLAIMED.format(run=run, digest=digest)) from error

    digest = settled(BUCKET)

    prepare = BedrockDatasetPreparationOperator(
        task_id="prepare_data",
        source_uri=f"s3://{BUCKET}/{DATA}",
        output_uri=f"s3://{BUCKET}/{STATE}datasets/{{{{ ti.xcom_pull('settled') }}}}",
        base_model_id="{{ params.base_model }}",
        validation_fraction=0.1,
        test_fraction=0.2,
    )

    customize = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="support-router-data",
        custom_model_name="support-router-data",
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id="{{ params.base_model }}",
        training_data_uri=prepare.output["training_data_uri"],
        validation_data_uri=prepare.output["validation_data_uri"],
        output_data_uri=f"s3://{BUCKET}/{STATE}output",
        max_cost="{{ params.max_cost }}",
        dry_run="{{ params.dry_run }}",
        reuse="dag",
        wait_for_completion=False,
    )

    wait = BedrockModelCustomizationSensor(
        task_id="wait_for_model",
        job_identifier=customize.output,
        timeout=24 * 60 * 60,
        outlets=[Asset("support-router-model")],
    )

    take_messages() >> digest >> prepare >> claim(digest, BUCKET) >> customize >> wait
