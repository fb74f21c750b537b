"""Put the previous model back: one button in Airflow's UI."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_bedrock.form import refuse_unknown_params

with DAG(
    dag_id="rollback_model",
    description="Put an earlier model of a line back; the model that serves now is not promoted again.",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"pre_execute": refuse_unknown_params},  # in a run's conf, which may name any
    tags=["bedrock", "fine-tuning", "example"],
    params={
        "line": Param(
            "support-router", type="string", pattern=r"^[0-9a-zA-Z]([_-]?[0-9a-zA-Z])*\Z", title="Line of models"
        ),
        "model_arn": Param(
            None,
            type=["null", "string"],
            title="Model",
            description_md="The ARN of a model that has served. Empty: the latest one that was not rejected.",
        ),
    },
    doc_md="""
### One button: the model that served before serves again

```
 registry on S3 ──▶ the latest model that was not rejected ──▶ deployment ──▶ it serves; the other is not promoted again
```

To send a notification, set `on_success_callback=BedrockNotifier(...)` of the task (docs/metrics.md).

**What it costs on AWS**: nothing. The storage of the model that served is still billed until the model is deleted.
""",
) as dag:

    @task(retries=3, retry_delay=pendulum.duration(seconds=30))
    def roll_back(registry_uri: str, params: dict[str, Any] | None = None, dag_run: Any = None, ti: Any = None) -> str:
        """Roll back, and return the ARN of the model that serves."""
        from airflow_bedrock import shown
        from airflow_bedrock.hooks import BedrockModelRegistryHook

        given = params or {}
        by = getattr(dag_run, "triggering_user_name", None) or f"rollback_model in run {dag_run.run_id}"
        registry = BedrockModelRegistryHook(registry_uri=registry_uri)
        before = registry.get(given["line"]).champion
        register = registry.roll_back(given["line"], by=by, model_arn=given["model_arn"] or None)
        serves = str(register.champion and register.champion.model_arn)
        replaced = before and before.model_arn
        endpoint_url = registry.conn.meta.endpoint_url  # by which Local Bedrock is known
        shown.push({"ti": ti}, shown.PROMOTION, shown.rollback_shown(given["line"], serves, replaced, by, endpoint_url))
        return serves

    roll_back(registry_uri="s3://{{ var.value.bedrock_bucket }}/registry")
