"""Reinforcement fine-tuning: a Lambda function grades the model's answers, and the model learns to get good grades.

This file lists the graders that the form allows, and the task checks it: an API call bypasses the form.
"""

from __future__ import annotations

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
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

BUCKET = "{{ var.value.bedrock_bucket }}"
FOLDER = f"s3://{BUCKET}/reinforce"
SOURCE = f"s3://{BUCKET}/{{{{ params.data }}}}"
BASE_MODEL = "amazon.nova-2-lite-v1:0:256k"  # takes reinforcement fine-tuning
# The Lambda functions that may grade: name → ARN.
GRADERS = {"support-router": "arn:aws:lambda:us-east-1:123456789012:function:grade-support-router"}

with DAG(
    dag_id="reinforce_with_a_grader",
    description="Fine-tune a model with rewards from a Lambda function; compare it with its base model.",
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
        "grader": Param(
            next(iter(GRADERS)),
            type="string",
            enum=list(GRADERS),
            title="Grader",
            description_md="A name in `GRADERS` in the DAG file, with its Lambda function.",
            section="Data",
        ),
        "data": Param(
            "graded-requests/",
            type="string",
            pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]*\Z",
            title="Data",
            description_md="A file, or a folder that ends in a slash, in the bucket of the variable "
            "`bedrock_bucket`: records with `prompt`, `reference_answer`, and other fields for the grader.",
            section="Data",
        ),
        "epochs": form.epochs_param(most=50),
        "answers": Param(
            4,
            type="integer",
            minimum=2,
            maximum=16,
            title="Answers to grade for each prompt",
            description_md="2 to 16.",
            section="Hyperparameters",
        ),
        "test_records": form.held_out_param(),
        "expected_cost": Param(
            None,
            type=["null", "number"],
            minimum=0,
            title="Expected cost of the job, in US dollars",
            description_md="Required with a budget: the job is billed by the hour, and the hours cannot be predicted.",
            section="Cost",
        ),
        "dry_run": form.dry_run_param(
            "Call the grader on three records, log in `customize` what it returned and what the run would do, and "
            "stop there."
        ),
    },
    doc_md="""
### Reinforcement fine-tuning with a grader

```
 allowed ─▶ prepare ─▶ customize ─▶ wait ─▶ deploy ─▶ evaluate ─▶ delete_deployment
                        │     ▲                       against the base model, by the reference answers
                answers ▼     │ rewards
                     Lambda function
```

Start with a dry run: a grader that scores a right answer no higher than an empty one teaches nothing.

| what it needs | where it is set |
|---|---|
| graders that the form allows | `GRADERS` in this file |
| a bucket | variable `bedrock_bucket` |
| a role for Bedrock with `lambda:InvokeFunction`, by `deploy/policies/graders.json` | variable `bedrock_role_arn` |
| AWS credentials and region | connection `aws_default` |
| boto3 1.42.2 or later: older versions do not have the method, and the run fails immediately | your environment |

**What it costs on AWS**: the hours of one customization job, the grader's calls, the storage of the model, by the
month, until it is deleted, and the calls of the evaluation. The package has no dated price of an hour: docs/cost.md
shows how to set yours. If nothing has changed, a run reuses the model.
""",
) as dag:

    @task(multiple_outputs=True)
    def allowed(source_uri: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the customization config, if this file allows the grader, and the method is available for the data."""
        from airflow_bedrock.exceptions import BedrockFatalError
        from airflow_bedrock.shapes import missing_in_botocore

        given = params or {}
        if given["grader"] not in GRADERS:
            raise BedrockFatalError(
                f"Grader {given['grader']} is not allowed; allowed: {', '.join(GRADERS)}. Nothing was spent. Choose "
                "another grader, or edit GRADERS in this DAG's file."
            )
        if missing := missing_in_botocore("CreateModelCustomizationJob.customizationConfig.rftConfig"):
            raise BedrockFatalError(f"{missing}. Nothing was spent.")
        method = "REINFORCEMENT_FINE_TUNING"
        form.refuse_unavailable(BASE_MODEL, source_uri, customization_type=method)
        return {
            "customization_type": method,
            "customization_config": {
                "rftConfig": {
                    "graderConfig": {"lambdaGrader": {"lambdaArn": GRADERS[given["grader"]]}},
                    "hyperParameters": {
                        "epochCount": given["epochs"],
                        "trainingSamplePerPrompt": given["answers"],
                    },
                }
            },
        }

    method: Any = allowed(SOURCE)

    prepare = BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=SOURCE,
        output_uri=FOLDER + "/datasets/{{ params.data }}",
        base_model_id=BASE_MODEL,
        customization_type=method["customization_type"],
        test_fraction=0.2,
    )

    customize = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="reinforced",
        custom_model_name="reinforced",
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id=BASE_MODEL,
        customization_type=method["customization_type"],
        customization_config=method["customization_config"],
        training_data_uri=prepare.output["training_data_uri"],
        output_data_uri=FOLDER + "/output",
        expected_cost="{{ params.expected_cost }}",
        dry_run="{{ params.dry_run }}",
        reuse="dag",
        wait_for_completion=False,
    )

    wait = BedrockModelCustomizationSensor(
        task_id="wait_for_model", job_identifier=customize.output, timeout=72 * 60 * 60
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
        # On demand, Nova 2 Lite needs an inference profile; a model is called without its context length.
        baseline_model_id="us.amazon.nova-2-lite-v1:0",
        output_uri=FOLDER + "/evaluations/{{ ti.xcom_pull('wait_for_model')['custom_model_name'] }}",
        answers_uri=FOLDER + "/answers",
        max_records="{{ params.test_records }}",
    )

    delete_deployment = BedrockDeleteCustomModelDeploymentOperator(
        task_id="delete_deployment", deployment_arn=wait.output["custom_model_name"]
    )
    # The deployment is deleted even if the evaluation, or the deployment itself, has failed.
    [deploy, evaluate] >> delete_deployment.as_teardown(setups=[wait, deploy])
