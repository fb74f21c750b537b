"""Report each month which custom models nobody needs, and what they cost; delete them if the form says so.

This file lists the lines of models that a run may retire, and the task checks it: an API call bypasses the form.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_bedrock.form import refuse_unknown_params
from airflow_bedrock.operators import BedrockRetireModelsOperator

# The line → the DAG that makes its models. Models of other DAGs are never considered.
LINES = {"support-router": "retrain_support_router"}

with DAG(
    dag_id="retire_models",
    description="List the models of a line that nobody needs, with their monthly cost; delete them on request.",
    schedule="0 6 1 * *",  # with the form's defaults: it lists, and deletes nothing
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": pendulum.duration(seconds=30),
        "pre_execute": refuse_unknown_params,  # in a run's conf, which may name any
    },
    tags=["bedrock", "cost", "example"],
    params={
        "line": Param(
            next(iter(LINES)),
            type="string",
            enum=list(LINES),
            title="Line of models",
            description_md="A name in `LINES` in the DAG file, with the DAG that makes its models.",
        ),
        "delete": Param(
            False,
            type="boolean",
            title="Delete the models",
            description_md="Otherwise the run only lists the models that it would delete, and the monthly savings. "
            "A deleted model cannot be restored.",
        ),
    },
    doc_md="""
### Retire models

```
 registry: champion, rollbacks ─┐
 Bedrock: models, deployments,  ├──▶ allowed ──▶ retire ──▶ log, XCom: deleted (or would be), kept and why,
   provisioned throughput, tags ─┘                            US dollars a month
```

It keeps the model that serves, the champion, the models that a rollback needs, the last three, those younger than
four days, those that a person was asked to approve, those with the tag `airflow-bedrock/keep`, and those that
somebody else's deployment or throughput uses.
If no model has been promoted, it deletes none.

| what it needs | where it is set |
|---|---|
| lines that the form allows | `LINES` in this file |
| a bucket with the registry | variable `bedrock_bucket` |
| AWS credentials and region | connection `aws_default` |

**What it costs on AWS**: nothing. It ends costs: the storage of a custom model, by the month, and its provisioned
throughput, by the hour. The log shows the sum, and lists models without a known price. docs/cost.md says
where prices come from.
""",
) as dag:

    @task(multiple_outputs=True)
    def allowed(params: dict[str, Any] | None = None) -> dict[str, str]:
        """Return the line and the DAG that makes its models, if this file allows it."""
        from airflow_bedrock.exceptions import BedrockFatalError

        line = str((params or {})["line"])
        if line not in LINES:
            raise BedrockFatalError(
                f"Line {line} is not allowed; allowed: {', '.join(LINES)}. Nothing was deleted. Choose "
                "another line, or edit LINES in this DAG's file."
            )
        return {"line": line, "dag_id": LINES[line]}

    line: Any = allowed()
    BedrockRetireModelsOperator(
        task_id="retire",
        deployment_name=line["line"],
        models_dag_id=line["dag_id"],
        registry_uri="s3://{{ var.value.bedrock_bucket }}/registry",
        keep_last=3,
        keep_younger_than=4 * 24 * 60 * 60,  # seconds: a run may be evaluating them
        delete="{{ params.delete }}",
    )
