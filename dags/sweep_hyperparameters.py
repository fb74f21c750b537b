"""Sweep hyperparameters: train each point of a grid for one epoch, the better half to the end, and evaluate the best.

Bedrock returns no losses while a job runs, so no job is stopped for its losses. A point is dropped between two jobs
instead (successive halving): if it is in the worse half after one epoch, it gets no job of all epochs. At the end of
the run, all of its models but the best are deleted, whatever has happened: each is billed for its storage.
"""

from __future__ import annotations

import logging
from itertools import product
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_bedrock import form
from airflow_bedrock.operators import (
    BedrockCustomModelDeploymentOperator,
    BedrockDatasetPreparationOperator,
    BedrockDeleteCustomModelDeploymentOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
)

SOURCE = "s3://{{ var.value.bedrock_bucket }}/{{ params.data }}"
FOLDER = "s3://{{ var.value.bedrock_bucket }}/sweep"
MOST_POINTS = 12  # each is a paid job; checked in the task, since the form limits each list, not their product
POOL = "bedrock_training_jobs"
BASE_MODELS = form.text_models(hyperparameters=("epochCount", "learningRate", "learningRateWarmupSteps"))

log = logging.getLogger(__name__)


def loss(result: dict[str, Any]) -> float:
    """Return the loss by which points are compared: that on records that the model was not trained on."""
    from airflow_bedrock.exceptions import BedrockFatalError

    if result["validation_loss"] is None:
        raise BedrockFatalError(
            f"Job {result['job_arn']} has no validation loss to compare by. Its model is stored and billed until it "
            "is deleted. Check the job's output folder."
        )
    return float(result["validation_loss"])


with DAG(
    dag_id="sweep_hyperparameters",
    description="Train a grid of hyperparameters for one epoch, the better half to the end, and evaluate the best.",
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
        "data": Param(
            "support-requests/",
            type="string",
            pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]*\Z",
            title="Data",
            description_md="A file, or a folder that ends in a slash, in the bucket of the variable "
            "`bedrock_bucket`: records with `prompt` and `completion`.",
            section="Data",
        ),
        "base_model": form.base_model_param(BASE_MODELS),
        "learning_rates": Param(
            [5e-6, 1e-5, 5e-5],
            type="array",
            items={"type": "number", "minimum": 1e-6, "maximum": 1e-4},
            minItems=1,
            uniqueItems=True,
            title="Learning rates",
            description_md="Each is 1e-06 to 0.0001. Each pair of learning rate and warm-up steps is a job.",
            section="Hyperparameters",
        ),
        "warmup_steps": Param(
            [10],
            type="array",
            items={"type": "integer", "minimum": 0, "maximum": 100},
            minItems=1,
            uniqueItems=True,
            title="Learning rate warm-up steps",
            description_md="Each is 0 to 100.",
            section="Hyperparameters",
        ),
        "epochs": Param(
            3,
            type="integer",
            minimum=2,
            maximum=5,
            title="Epochs of the better half",
            description_md="2 to 5.",
            section="Hyperparameters",
        ),
        "max_cost": form.max_cost_param(),
        "dry_run": form.dry_run_param("Log in `try_out` what each job would do and cost, and stop there."),
        "test_records": form.held_out_param(),
    },
    doc_md="""
### Sweep hyperparameters

```
 grid ─▶ prepare ─▶ try_out [n] ─▶ better_half ─▶ train [n/2] ─▶ best ─▶ deploy ─▶ evaluate ─▶ delete_deployment
                    one epoch      by validation  all epochs    │        against the base model
                    each           loss                         └▶ delete_losers
```

**What is stopped early**: Bedrock returns no losses while a job runs, so no job is stopped because of its losses. A
point in the worse half after one epoch gets no further job. That is a guess: a low learning rate can lose after one
epoch and win after five.

**What is left**: the best model. Even if the run fails, `delete_losers` deletes the other models of the run: all of one
epoch, and those of all epochs that are not the best. If there is no best model yet, because a job has failed, it keeps
those of all epochs and names them in its log: clear the failed tasks to continue, or delete the models.

| what it needs | where it is set |
|---|---|
| AWS credentials and region | connection `aws_default` |
| a bucket, and a role that Bedrock can assume | variables `bedrock_bucket`, `bedrock_role_arn` |
| a pool with as many slots as your quota of training jobs | the command below |

```
airflow pools set --include-deferred bedrock_training_jobs 2 "Training jobs of Bedrock"
```

The form accepts no bucket, role or account. Without the pool, Airflow schedules none of the jobs.

**What it costs on AWS**: for n points, n jobs of one epoch and n/2 of all epochs; the storage of the best model,
by the month, until it is deleted; and the calls of the evaluation. `airflow-bedrock estimate` shows what a job on
your data costs, with the date of the price (docs/cost.md). If nothing has changed, a run reuses the best model, but
trains the others again, since they were deleted.
""",
) as dag:

    @task
    def grid(source_uri: str, params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """Return the points of the grid, each with one epoch."""
        from airflow_bedrock.exceptions import BedrockFatalError

        given = params or {}
        points = list(product(given["learning_rates"], given["warmup_steps"]))
        if len(points) > MOST_POINTS:
            raise BedrockFatalError(
                f"{len(points)} points are more than the allowed {MOST_POINTS}. Nothing was spent. Sweep "
                "fewer, or edit MOST_POINTS in this DAG's file."
            )
        form.refuse_unavailable(given["base_model"], source_uri)
        return [
            {"epochCount": "1", "learningRate": str(rate), "learningRateWarmupSteps": str(steps)}
            for rate, steps in points
        ]

    @task
    def better_half(
        points: list[dict[str, str]], results: Any, params: dict[str, Any] | None = None
    ) -> list[dict[str, str]]:
        """Return the better half of the points by validation loss, each with all epochs."""
        tried = sorted(zip(map(loss, results), range(len(points)), points, strict=True))
        epochs = str((params or {})["epochs"])
        return [{**point, "epochCount": epochs} for _, _, point in tried[: (len(tried) + 1) // 2]]

    @task(multiple_outputs=True)
    def best(points: list[dict[str, str]], results: Any) -> dict[str, Any]:
        """Return the model with the lowest validation loss, and its hyperparameters."""
        least, place, won = min((loss(one), place, one) for place, one in enumerate(results))
        return {
            "custom_model_arn": won["custom_model_arn"],
            "custom_model_name": won["custom_model_name"],
            "losses_by_epoch": won["losses_by_epoch"],
            "validation_loss": least,
            "hyperparameters": points[place],
        }

    @task
    def delete_losers(run_id: str | None = None, ti: Any = None) -> list[str]:
        """Delete the models of this run except the best; return the ARNs of those that are left."""
        from airflow_bedrock.configuration import environment
        from airflow_bedrock.customization.tags import is_of_dag
        from airflow_bedrock.exceptions import BedrockError
        from airflow_bedrock.hooks import BedrockHook

        winner = ti.xcom_pull(task_ids="best", key="custom_model_arn")
        bedrock: Any = BedrockHook().conn
        left, refused = [], []
        for name in ("try-out", "train"):
            pages = bedrock.get_paginator("list_custom_models").paginate(nameContains=name)
            for model in (one["modelArn"] for page in pages for one in page["modelSummaries"]):
                found = bedrock.list_tags_for_resource(resourceARN=model)["tags"]
                tags = {one["key"]: one["value"] for one in found}
                if not is_of_dag(tags, environment(), dag.dag_id) or tags["airflow/run_id"] != run_id:
                    continue  # of another run, which may need it
                if model == winner or (winner is None and tags["airflow/task_id"] == "train"):
                    left.append(model)
                    continue
                try:
                    bedrock.delete_custom_model(modelIdentifier=model)
                except bedrock.exceptions.ClientError as error:
                    refused.append(f"{model}: {error}")
        log.info("Left, and billed for their storage: %s", ", ".join(left) or "none")
        if refused:
            raise BedrockError(f"Not deleted, and billed for their storage: {'; '.join(refused)}")
        return left

    prepare = BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=SOURCE,
        output_uri=FOLDER + "/datasets/{{ params.data }}",
        base_model_id="{{ params.base_model }}",
        validation_fraction=0.1,
        test_fraction=0.2,
    )

    def trained(task_id: str, points: Any) -> Any:
        """Train each of the points, no more at once than the pool has slots; return the operator."""
        return BedrockModelCustomizationOperator.partial(
            task_id=task_id,
            job_name=task_id.replace("_", "-"),
            custom_model_name=task_id.replace("_", "-"),
            role_arn="{{ var.value.bedrock_role_arn }}",
            base_model_id="{{ params.base_model }}",
            training_data_uri=prepare.output["training_data_uri"],
            validation_data_uri=prepare.output["validation_data_uri"],
            output_data_uri=FOLDER + "/output",
            max_cost="{{ params.max_cost }}",
            dry_run="{{ params.dry_run }}",
            reuse="dag",
            deferrable=True,
            pool=POOL,
        ).expand(hyperparameters=points)

    points: Any = grid(SOURCE)
    try_out = trained("try_out", points)
    finalists: Any = better_half(points, try_out.output["result"])
    train = trained("train", finalists)
    won: Any = best(finalists, train.output["result"])
    points >> prepare
    losers: Any = delete_losers()
    [try_out, train, won] >> losers.as_teardown(setups=points, on_failure_fail_dagrun=True)

    deploy = BedrockCustomModelDeploymentOperator(
        task_id="deploy",
        model_arn=won["custom_model_arn"],
        deployment_name=won["custom_model_name"],
        deferrable=True,
    )

    evaluate = BedrockModelEvaluationOperator(
        task_id="evaluate",
        test_data_uri=prepare.output["test_data_uri"],
        candidate_model_id=deploy.output,
        # A model is called without the context length that it is trained with: amazon.nova-micro-v1:0.
        baseline_model_id="{{ ':'.join(params.base_model.split(':')[:2]) }}",
        output_uri=FOLDER + "/evaluations/{{ ti.xcom_pull('best')['custom_model_name'] }}",
        answers_uri=FOLDER + "/answers",
        max_records="{{ params.test_records }}",
        losses_by_epoch=won["losses_by_epoch"],
    )

    delete_deployment = BedrockDeleteCustomModelDeploymentOperator(
        task_id="delete_deployment", deployment_arn=won["custom_model_name"]
    )
    # The deployment is deleted even if the evaluation, or the deployment itself, has failed.
    [deploy, evaluate] >> delete_deployment.as_teardown(setups=[won, deploy])
