"""Make a model that was trained in one account and region serve in another: copy it, deploy the copy, ask it.

This file lists what the form allows, and the task checks it: an API call bypasses the form.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task
from packaging.version import Version

from airflow_bedrock.form import refuse_unknown_params
from airflow_bedrock.operators import BedrockCustomModelDeploymentOperator, BedrockModelCopyOperator

# Where a model may come from: account → the Airflow connection to it.
SOURCES = {"123456789012": "aws_default"}
# Where it may go: the connection, its account, the region, and the KMS key that encrypts the copy ("" for AWS's own).
TARGETS: dict[str, dict[str, str]] = {
    "staging": {"aws_conn_id": "aws_default", "account": "123456789012", "region_name": "us-west-2", "kms_key_id": ""},
    "production": {
        "aws_conn_id": "aws_production",
        "account": "210987654321",
        "region_name": "us-west-2",
        "kms_key_id": "alias/bedrock-models",
    },
}

# Older versions of boto3 cannot change a deployment's model: there, each model needs its own deployment name.
REPLACES = Version(version("boto3")) >= Version("1.42.2")

with DAG(
    dag_id="copy_to_production",
    description="Copy a custom model to another region or account, and deploy the copy there.",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": pendulum.duration(seconds=30),
        "pre_execute": refuse_unknown_params,  # in a run's conf, which may name any
    },
    tags=["bedrock", "fine-tuning", "example"],
    params={
        "model_arn": Param(
            type="string",
            pattern=r"^arn:aws(-[a-z-]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:custom-model/"  # as the service has it
            r"(imported|[a-z0-9-]{1,63}\.[a-z0-9-]{1,63})(:[a-z0-9-]{1,63}){0,2}/[a-z0-9]{12}\Z",
            title="Model",
            description_md="The ARN of the custom model. Its account must be one of `SOURCES` in the DAG file.",
        ),
        "target": Param(
            "staging",
            type="string",
            enum=list(TARGETS),
            title="Target",
            description_md="A name in `TARGETS` in the DAG file, with the account, region and KMS key of the copy.",
        ),
        "name": Param(
            "support-router",
            type="string",
            pattern=r"^[0-9a-zA-Z]([_-]?[0-9a-zA-Z])*\Z",
            maxLength=40,
            title="Deployment",
            description_md="Its name in the target. If it exists, it is changed to this model and keeps its ARN.",
        ),
        "question": Param(
            "Which service stores objects?", type="string", pattern=r"\S", maxLength=2000, title="Question for the copy"
        ),
    },
    doc_md="""
### A model trained in one account and region serves in another

```
 account and region of training              account and region of production
 ┌──────────────┐  share (AWS RAM)  ┌──────┐     ┌────────┐     ┌─────┐
 │ custom model │ ────────────────▶ │ copy │ ──▶ │ deploy │ ──▶ │ ask │
 └──────────────┘                   └──────┘     └────────┘     └─────┘
```

Check the lists → share and copy the model, end the share → deploy the copy, or change the deployment → ask it once.

| what it needs | where it is set |
|---|---|
| accounts, connections, regions and KMS keys that the form allows | `SOURCES` and `TARGETS` in this file |
| credentials for each account | the connections named there |
| for another account: one organization that shares with AWS RAM, and a key policy that lets production decrypt | AWS |

**What it costs on AWS**: a copy job costs nothing. The copy is billed for its storage each month, and so is its
source, until they are deleted; the deployment costs nothing while nobody calls it. Another run with the same model
makes no other copy (`reuse="dag"`).
""",
) as dag:

    @task(multiple_outputs=True)
    def allowed(params: dict[str, Any] | None = None) -> dict[str, str]:
        """Return model and places, if this file allows them and the model exists."""
        from airflow_bedrock.exceptions import BedrockFatalError
        from airflow_bedrock.hooks import BedrockHook

        given = params or {}
        model_arn, name = str(given["model_arn"]), str(given["target"])
        account = model_arn.split(":")[4] if model_arn.count(":") >= 5 else ""
        if account not in SOURCES or name not in TARGETS:
            raise BedrockFatalError(
                f"Model {model_arn} cannot be copied to {name}: this file allows models of {', '.join(SOURCES)}, and "
                f"{', '.join(TARGETS)}. Nothing was done. Choose others, or edit the lists in this DAG's file."
            )
        source: Any = BedrockHook(aws_conn_id=SOURCES[account], region_name=model_arn.split(":")[3]).conn
        try:
            source.get_custom_model(modelIdentifier=model_arn)
        except source.exceptions.ResourceNotFoundException as error:
            raise BedrockFatalError(f"There is no model {model_arn}. Nothing was done. Check its ARN.") from error
        target = TARGETS[name]
        shared = "" if target["account"] == account else SOURCES[account]
        return {**target, "model_arn": model_arn, "source_aws_conn_id": shared}

    @task(retries=0)
    def ask(deployment_arn: str, place: dict[str, str], question: str) -> str:
        """Ask the copy, where it serves now, and return its answer."""
        from airflow_bedrock.hooks import BedrockRuntimeHook

        hook = BedrockRuntimeHook(aws_conn_id=place["aws_conn_id"], region_name=place["region_name"])
        messages: Any = [{"role": "user", "content": [{"text": question}]}]
        answer = hook.conn.converse(modelId=deployment_arn, messages=messages)
        return str(answer["output"]["message"]["content"][0]["text"])

    place: Any = allowed()
    there = {"aws_conn_id": place["aws_conn_id"], "region_name": place["region_name"], "deferrable": True}
    copy = BedrockModelCopyOperator(
        task_id="copy",
        source_model_arn=place["model_arn"],
        source_aws_conn_id=place["source_aws_conn_id"],
        target_model_name="{{ params.name }}",
        model_kms_key_id=place["kms_key_id"],
        reuse="dag",
        **there,
    )
    deploy = BedrockCustomModelDeploymentOperator(
        task_id="deploy",
        model_arn=copy.output,
        deployment_name="{{ params.name }}",
        replace_model=REPLACES,
        **there,
    )
    ask(deploy.output, place, "{{ params.question }}")
