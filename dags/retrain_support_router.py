"""Retrain a model every year on that year's data, and promote it only if it beats the one that serves.

The data is on every machine: the API documentation inside botocore's service models, by the year of each service's API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, Param, task

from airflow_bedrock import form
from airflow_bedrock.operators import (
    BedrockCustomModelDeploymentOperator,
    BedrockDatasetPreparationOperator,
    BedrockDeleteCustomModelDeploymentOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
    BedrockPromoteModelOperator,
    BedrockPromotionGate,
    BedrockRetireModelsOperator,
)
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

try:  # Airflow 3.3: a run has a partition, and the same partition again is a new run
    from airflow.sdk import CronPartitionTimetable

    YEARLY: Any = CronPartitionTimetable("0 0 1 1 *", timezone="UTC", run_offset=-1, key_format="%Y")
except ImportError:
    from airflow.timetables.interval import CronDataIntervalTimetable

    YEARLY = CronDataIntervalTimetable("0 0 1 1 *", timezone="UTC")

LINE = "support-router"  # of models: the name of the deployment that callers use
FOLDER = "s3://{{ var.value.bedrock_bucket }}/retrain"
REGISTRY = "s3://{{ var.value.bedrock_bucket }}/registry"
SYSTEM_PROMPT = "Name the AWS service that this request belongs to. Answer with the service's name alone."
PERIOD = "{{ ti.xcom_pull('find_period') }}"
MOST_OF_A_SERVICE = 40  # operations
BASE_MODELS = form.text_models()
PREPARATION: dict[str, Any] = {  # of each period, and of those together
    "base_model_id": "{{ params.base_model }}",
    "system_prompt": SYSTEM_PROMPT,
    "validation_fraction": 0.1,
    "test_fraction": 0.2,
}


def support_requests(year: str, most_services: int) -> Iterator[dict[str, str]]:
    """The documentation of each operation of the services whose API is of that year."""
    from botocore.loaders import create_loader

    loader = create_loader()
    of_year = [
        service
        for service in loader.list_available_services("service-2")
        if loader.list_api_versions(service, "service-2")[0].startswith(year)
    ]
    for service in of_year[:most_services]:
        operations = loader.load_service_model(service, "service-2")["operations"]
        for name in sorted(operations)[:: 1 + len(operations) // MOST_OF_A_SERVICE]:
            words = " ".join(unescape(re.sub(r"<[^>]*>", " ", operations[name].get("documentation", ""))).split())
            if len(words) >= 40:
                yield {"prompt": words[:400].rsplit(" ", 1)[0], "completion": service}


with DAG(
    dag_id="retrain_support_router",
    description="Retrain the support router on each year's data; promote it only if it beats the model that serves.",
    schedule=YEARLY,
    start_date=pendulum.datetime(2007, 1, 1, tz="UTC"),
    catchup=False,  # True runs each year since 2006: each that has data is a job to pay
    max_active_runs=2,  # the service's quota of training jobs at once, unless yours is higher
    default_args={
        "retries": 2,
        "retry_delay": pendulum.duration(seconds=30),
        "pre_execute": form.refuse_unknown_params,  # in a run's conf, which may name any
    },
    tags=["bedrock", "fine-tuning", "example"],
    params={
        "period": Param(
            None,
            type=["null", "string"],
            pattern=r"^[0-9]{4}\Z",
            title="Period",
            description_md="A year, for a manual run. Scheduled runs and backfills have their own.",
            section="Data",
        ),
        "training_set": Param(
            "everything up to here",
            type="string",
            enum=["this period", "the last 3", "everything up to here"],
            title="Training set",
            section="Data",
        ),
        "start_from": Param(
            "base model",
            type="string",
            enum=["base model", "champion"],
            title="Start from",
            description_md="The base model, or the latest earlier model that has served (continued training).",
            section="Model",
        ),
        "base_model": form.base_model_param(BASE_MODELS),
        "services_a_year": Param(4, type="integer", minimum=1, maximum=100, title="Services a year", section="Data"),
        "epochs": form.epochs_param(),
        "test_records": form.held_out_param(),
        "approver": Param(
            None,
            type=["null", "string"],
            title="Approver",
            description_md="An Airflow user id: this user approves a model that passes the rules. Empty: no approval.",
            section="Evaluation",
        ),
        "delete_models": Param(
            False,
            type="boolean",
            title="Delete models that nobody needs",
            description_md="Otherwise the task `retire` only lists them, and the monthly savings.",
            section="Cost",
        ),
        "max_cost": form.max_cost_param(),
        "dry_run": form.dry_run_param(),
    },
    doc_md="""
### Retrain by period

```
 find_period ─▶ prepare_period [n] ─▶ prepare_data ─▶ customize ─▶ wait ─▶ deploy ─▶ evaluate ─▶ gate ─▶ promote
      └▶ find_champion: what to compare with, and to start from            delete_deployment ◀┘       retire ◀┘
```

The deployment for the evaluation is always deleted, even if the run fails. It needs the variables `bedrock_bucket` and
`bedrock_role_arn`, and the connection `aws_default`.

**What it costs on AWS**: one customization job for each period, the calls of its evaluation, and the monthly storage
of the model until it is retired. docs/retraining.md has more.
""",
) as dag:

    @task
    def find_period(params: dict[str, Any] | None = None, dag_run: Any = None, **context: Any) -> str:
        """Return the year of this run: of its partition, of its data interval, or from the form."""
        from airflow_bedrock.exceptions import BedrockFatalError

        given = params or {}
        form.refuse_unavailable(given["base_model"])
        if given["period"]:
            return str(given["period"])
        if key := getattr(dag_run, "partition_key", None):
            return str(key)[:4]
        start = context.get("data_interval_start") or context.get("logical_date")
        if start is None:
            raise BedrockFatalError(
                "A manual run needs a period. Nothing was spent. Enter the period in the form, or as partition key."
            )
        return f"{start.year}"

    @task
    def collect_periods(period: str, bucket: str, params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """Write the requests of each period that counts to its own folder; return where each is and goes."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from airflow_bedrock.compat import AirflowSkipException

        given = params or {}
        most_services, last = given["services_a_year"], int(period)
        if not any(support_requests(period, 1)):
            raise AirflowSkipException(
                f"No API version is from {period}, so there is no data to train on: nothing was spent."
            )
        first = {"this period": last, "the last 3": last - 2, "everything up to here": 2006}[given["training_set"]]
        found = []
        for year in range(first, last + 1):
            records = [json.dumps(record) for record in support_requests(str(year), most_services)]
            if records:
                name = f"{year}-{most_services}"
                key = f"retrain/sources/{name}/requests.jsonl"
                S3Hook().load_string("\n".join(records) + "\n", key, bucket, replace=True)
                places = {"source_uri": "sources", "output_uri": "periods"}
                found.append({what: f"s3://{bucket}/retrain/{place}/{name}/" for what, place in places.items()})
        return found

    @task(multiple_outputs=True)
    def find_champion(period: str, registry_uri: str, params: dict[str, Any] | None = None) -> dict[str, str]:
        """Return the models to compare with and to start from: the champion, or else the base model."""
        from airflow_bedrock.hooks import BedrockModelRegistryHook

        given = params or {}
        base = given["base_model"]
        hook = BedrockModelRegistryHook(registry_uri=registry_uri)
        register = hook.get(LINE)
        champion, serving = register.champion, hook.serving(register)
        # A model is called without the context length that it is trained with: amazon.nova-micro-v1:0.
        base_id = ":".join(base.split(":")[:2])
        baseline = register.deployment_arn if serving and register.deployment_arn else base_id
        compared_with = serving or (champion.model_arn if champion else base_id)
        # Never start from the period's own model: the same period again would be another request, and be paid again.
        served = [one for one in (champion, *register.previous) if one and (one.period or "") < period]
        earlier = max(
            (one for one in served if one.model_arn not in {*register.rejected, *register.retired}),
            key=lambda one: one.period or "",
            default=None,
        )
        start = earlier.model_arn if earlier and given["start_from"] == "champion" else base
        return {"baseline": baseline, "compared_with": compared_with, "start": start}

    period = find_period()
    periods = collect_periods(period, bucket="{{ var.value.bedrock_bucket }}")
    champion = find_champion(period, registry_uri=REGISTRY)

    prepare_period = BedrockDatasetPreparationOperator.partial(
        task_id="prepare_period", part=True, **PREPARATION
    ).expand_kwargs(periods)

    prepare = BedrockDatasetPreparationOperator(
        task_id="prepare_data",
        source_manifests=prepare_period.output["manifest_uri"],  # a record in several periods is kept once
        output_uri=FOLDER + "/datasets/" + PERIOD + "-{{ ti.xcom_pull('collect_periods') | length }}"
        "-{{ params.services_a_year }}",
        **PREPARATION,
    )

    customize = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name=LINE,
        custom_model_name=LINE,
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id=champion["start"],
        training_data_uri=prepare.output["training_data_uri"],
        validation_data_uri=prepare.output["validation_data_uri"],
        output_data_uri=FOLDER + "/output/" + PERIOD,
        hyperparameters={"epochCount": "{{ params.epochs }}"},
        max_cost="{{ params.max_cost }}",
        dry_run="{{ params.dry_run }}",
        reuse="dag",
        wait_for_completion=False,
    )

    wait = BedrockModelCustomizationSensor(
        task_id="wait_for_model", job_identifier=customize.output, timeout=24 * 60 * 60
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
        baseline_model_id=champion["baseline"],
        output_uri=FOLDER + "/evaluations/{{ ti.xcom_pull('wait_for_model')['custom_model_name'] }}",
        answers_uri=FOLDER + "/answers",
        max_records="{{ params.test_records }}",
    )

    delete_deployment = BedrockDeleteCustomModelDeploymentOperator(
        task_id="delete_deployment", deployment_arn=wait.output["custom_model_name"]
    )

    gate = BedrockPromotionGate(
        task_id="gate",
        report_uri=evaluate.output["report_uri"],
        model_arn=wait.output["custom_model_arn"],
        ask_approval="{{ params.approver not in ('', None) }}",
        approvers="{{ params.approver or 'nobody' }}",
        registry_uri=REGISTRY,
    )

    promote = BedrockPromoteModelOperator(
        task_id="promote",
        deployment_name=LINE,
        model_arn=wait.output["custom_model_arn"],
        period=PERIOD,
        compared_with=champion["compared_with"],
        registry_uri=REGISTRY,
        job_arn=customize.output,
        # The period's data may be prepared again in the same place: the digest says which content the model has seen.
        dataset="{{ ti.xcom_pull('prepare_data')['manifest_uri'] }}#{{ ti.xcom_pull('prepare_data')['digest'] }}",
        evaluation=evaluate.output["report_uri"],
        approved_by=gate.output["approved_by"],
        outlets=[Asset("support-router-champion")],
    )

    retire = BedrockRetireModelsOperator(
        task_id="retire",
        deployment_name=LINE,
        registry_uri=REGISTRY,
        delete="{{ params.delete_models and not params.dry_run }}",
        trigger_rule="none_failed",
    )

    # The deployment is deleted even if the evaluation, or the deployment itself, has failed.
    [deploy, evaluate] >> delete_deployment.as_teardown(setups=[wait, deploy])
    gate >> promote >> retire
