"""Fine-tune a model that routes a support request to the AWS service it belongs to, and keep it if it is better.

The data is on every machine: the API documentation inside botocore's service models.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, Metadata, Param, task

from airflow_bedrock import form
from airflow_bedrock.operators import (
    BedrockCustomModelDeploymentOperator,
    BedrockDatasetCheckOperator,
    BedrockDatasetPreparationOperator,
    BedrockDeleteCustomModelDeploymentOperator,
    BedrockDeleteCustomModelOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
)
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

ROUTER = Asset("support-router")  # with a URI, each parse would load what all providers know about URIs
FOLDER = "s3://{{ var.value.bedrock_bucket }}/support-router"
SYSTEM_PROMPT = "Name the AWS service that this request belongs to. Answer with the service's name alone."

# What a support desk is asked about most; "number of services" takes them from the left.
SERVICES = (  # noqa: SIM905 - thirty short words read better in a few lines than in thirty
    "ec2 s3 rds lambda dynamodb iam sqs sns ecs eks cloudwatch logs cloudformation route53 elbv2 kms athena glue "
    "redshift kinesis apigateway cloudfront secretsmanager stepfunctions ssm sagemaker opensearch elasticache efs ecr"
).split()
MOST_OF_A_SERVICE = 150  # operations
BASE_MODELS = form.text_models(hyperparameters=("epochCount", "learningRate", "learningRateWarmupSteps"))


def plain_text(html: str) -> str:
    """The words of an HTML text, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def support_requests(services: list[str]) -> Iterator[dict[str, str]]:
    """The documentation of each operation of the services, and the service that it belongs to."""
    from botocore.loaders import create_loader

    loader = create_loader()
    for service in services:
        operations = loader.load_service_model(service, "service-2")["operations"]
        # Evenly from all operations of a large service, so that no service dominates the answers.
        for name in sorted(operations)[:: 1 + len(operations) // MOST_OF_A_SERVICE]:
            text = plain_text(operations[name].get("documentation", ""))
            if len(text) >= 40:
                yield {"prompt": text[:400].rsplit(" ", 1)[0], "completion": service, "operation": f"{service}:{name}"}


with DAG(
    dag_id="finetune_support_router",
    description="Fine-tune a Bedrock model that routes support requests; keep it only if it beats its base model.",
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
        "base_model": form.base_model_param(BASE_MODELS),
        "services": Param(
            12,
            type="integer",
            minimum=2,
            maximum=len(SERVICES),
            title="Number of services",
            description_md="How many AWS services the router tells apart. More services: more records, a higher cost.",
            section="Data",
        ),
        "epochs": form.epochs_param(),
        "learning_rate": Param(
            1e-5,
            type="number",
            minimum=1e-6,
            maximum=1e-4,
            title="Learning rate",
            description_md="1e-06 to 0.0001. The form changes a number outside this range to the nearest limit.",
            section="Hyperparameters",
        ),
        "warmup_steps": Param(
            10,
            type="integer",
            minimum=0,
            maximum=100,
            title="Learning rate warm-up steps",
            description_md="0 to 100.",
            section="Hyperparameters",
        ),
        "test_records": form.held_out_param(),
        "train_again": Param(
            False,
            type="boolean",
            title="Train again",
            description_md="Pay for a new job even if the same data and parameters have already made a model. A later "
            "run without this reuses the model of a run without it, otherwise this one.",
            section="Model",
        ),
        "dry_run": form.dry_run_param(),
        "max_cost": form.max_cost_param(),
    },
    doc_md="""
### Route support requests with your own model

```
 prepare_data ─▶ check_data ─▶ customize ─▶ wait ─▶ deploy ─▶ evaluate ─▶ better? ─┬▶ keep
                                                              against the base model └▶ retire
```

| what it needs | where it is set |
|---|---|
| AWS credentials and region | connection `aws_default` |
| a bucket | variable `bedrock_bucket` |
| a role that Bedrock can assume | variable `bedrock_role_arn` |

**What it costs on AWS**: one customization job for each change of data or parameters, the monthly storage of each
custom model, and the calls of the evaluation. If nothing has changed, a run reuses the model. A model that
is not better than its base model is deleted, so the next run trains again. Local Bedrock costs nothing.

If the model is kept, the asset `support-router` gets an event with its ARNs and its accuracy.
""",
) as dag:

    @task
    def collect_requests(bucket: str, params: dict[str, Any] | None = None) -> str:
        """Write the raw requests to S3; the name contains their digest, so that the same data is the same object."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        given = params or {}
        form.refuse_unavailable(given["base_model"])
        lines = [json.dumps(record) for record in support_requests(SERVICES[: given["services"]])]
        content = "\n".join(lines) + "\n"
        key = f"support-router/requests/{hashlib.sha256(content.encode()).hexdigest()[:16]}/requests.jsonl"
        S3Hook().load_string(content, key, bucket, replace=True)
        return f"s3://{bucket}/{key}"

    requests = collect_requests(bucket="{{ var.value.bedrock_bucket }}")

    prepare = BedrockDatasetPreparationOperator(
        task_id="prepare_data",
        source_uri=requests,
        output_uri=FOLDER + "/datasets/{{ ti.xcom_pull('collect_requests').split('/')[-2] }}",
        base_model_id="{{ params.base_model }}",
        system_prompt=SYSTEM_PROMPT,
        validation_fraction=0.1,
        test_fraction=0.2,
    )

    check = BedrockDatasetCheckOperator(
        task_id="check_data",
        training_data_uri=prepare.output["training_data_uri"],
        validation_data_uri=prepare.output["validation_data_uri"],
        test_data_uri=prepare.output["test_data_uri"],
        base_model_id="{{ params.base_model }}",
    )

    customize = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="support-router",
        custom_model_name="support-router",
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id="{{ params.base_model }}",
        training_data_uri=prepare.output["training_data_uri"],
        validation_data_uri=prepare.output["validation_data_uri"],
        output_data_uri=FOLDER + "/output",
        hyperparameters={
            "epochCount": "{{ params.epochs }}",
            "learningRate": "{{ params.learning_rate }}",
            "learningRateWarmupSteps": "{{ params.warmup_steps }}",
        },
        reuse="{{ 'never' if params.train_again else 'dag' }}",
        max_cost="{{ params.max_cost }}",
        dry_run="{{ params.dry_run }}",
        wait_for_completion=False,
    )

    check >> customize

    wait = BedrockModelCustomizationSensor(
        task_id="wait_for_model",
        job_identifier=customize.output,
        timeout=24 * 60 * 60,
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
        baseline_model_id="{{ ':'.join(params.base_model.split(':')[:2]) }}",
        output_uri=FOLDER + "/evaluations/{{ ti.xcom_pull('wait_for_model')['custom_model_name'] }}",
        answers_uri=FOLDER + "/answers",  # one place for all runs: the base model's answers are not paid for again
        max_records="{{ params.test_records }}",
        losses_by_epoch=wait.output["losses_by_epoch"],
    )

    @task.branch
    def better_than_base(verdict: str) -> str:
        return "keep" if verdict == "better" else "retire_deployment"

    @task(outlets=[ROUTER])
    def keep(model: dict[str, Any], deployment_arn: str, evaluation: dict[str, Any]) -> Any:
        """Announce the model to the DAGs that are scheduled on it."""
        yield Metadata(
            ROUTER,
            {
                "custom_model_arn": model["custom_model_arn"],
                "deployment_arn": deployment_arn,
                "accuracy": evaluation["candidate"]["accuracy"],
                "base_accuracy": evaluation["baseline"]["accuracy"],
            },
        )

    verdict = better_than_base(evaluate.output["verdict"])
    retire_deployment = BedrockDeleteCustomModelDeploymentOperator(
        task_id="retire_deployment", deployment_arn=deploy.output
    )
    retire_model = BedrockDeleteCustomModelOperator(
        task_id="retire_model", model_identifier=wait.output["custom_model_arn"]
    )

    verdict >> [keep(wait.output, deploy.output, evaluate.output), retire_deployment]
    retire_deployment >> retire_model
