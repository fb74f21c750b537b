"""Report each Monday what costs money in Amazon Bedrock although nobody uses it."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, Param

from airflow_bedrock.form import refuse_unknown_params
from airflow_bedrock.operators import BedrockIdleCostOperator

with DAG(
    dag_id="idle_cost_report",
    description="Report throughput and deployments without calls, models that nothing serves, and their prices.",
    schedule="0 7 * * 1",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"pre_execute": refuse_unknown_params},  # in a run's conf, which may name any
    tags=["bedrock", "cost", "example"],
    params={
        "regions": Param(
            ["us-east-1"],
            type="array",
            items={"type": "string", "pattern": "^[a-z]{2}(-[a-z]+)+-[0-9]$"},
            minItems=1,
            title="Regions",
        ),
        "days": Param(14, type="integer", minimum=1, maximum=455, title="Days without a call"),
    },
    render_template_as_native_obj=True,
    doc_md="""
    ```
    Bedrock: provisioned throughput, deployments, models ─┐
                                                          ├─ find_idle_cost ─→ log, XCom, notifiers
    CloudWatch: Invocations by ModelId ───────────────────┘
    ```

    **What it costs**: 0.01 US dollars for each 1,000 metrics read from CloudWatch. It changes and deletes nothing.

    To send the report, set `notifiers=` to an Airflow notifier, for example
    `SlackNotifier(text="{{ idle_cost_text }}")`. It is called only if something is idle, or if the base model of a
    model in service is Legacy.
    """,
) as dag:
    BedrockIdleCostOperator(
        task_id="find_idle_cost",
        regions="{{ params.regions }}",
        days="{{ params.days }}",
        retries=3,
    )
