"""The whole life of a model with boto3: data, job, artefacts, model, deployment, answers, end."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

SETTINGS = {"deployment_seconds": 1}  # long enough to be seen


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, Any]:
    """A completed job with validation data."""
    validation = service.put("validate.jsonl", service.dataset(150).split("\n", 120)[-1])
    arn = service.create(
        validationDataConfig={"validators": [{"s3Uri": validation}]}, hyperParameters={"epochCount": "3"}
    )
    return service.job(arn)


@pytest.fixture(scope="module")
def deployment(service: Service, job: dict[str, Any]) -> dict[str, Any]:
    """An active deployment of that job's model."""
    return service.deployment(service.deploy(job["outputModelArn"], description="The first one"))


def rows(service: Service, job: dict[str, Any], path: str) -> list[dict[str, str]]:
    key = f"out/model-customization-job-{job['jobArn'].rpartition('/')[2]}/{path}"
    answer = service.s3.get_object(Bucket=service.local.bucket, Key=key)
    with answer["Body"]:
        return list(csv.DictReader(io.StringIO(answer["Body"].read().decode())))


def test_job_completes_with_losses_and_model(service: Service, job: dict[str, Any]) -> None:
    """The job ends Completed, with real losses, filled-in hyperparameters and the model that was asked for."""
    assert job["status"] == "Completed"
    assert job["hyperParameters"] == {"epochCount": "3", "learningRate": "0.00001", "learningRateWarmupSteps": "10"}
    assert job["trainingMetrics"]["trainingLoss"] < 0.5
    assert job["validationMetrics"][0]["validationLoss"] < 0.5
    assert job["jobArn"].startswith(
        "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/"
    )
    assert job["outputModelArn"].startswith(
        "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/"
    )
    assert job["baseModelArn"] == "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0:128k"


def test_job_is_found_by_name_and_by_arn(service: Service, job: dict[str, Any]) -> None:
    """Name and ARN find the same job."""
    by_name = service.bedrock.get_model_customization_job(jobIdentifier=job["jobName"])
    assert by_name["jobArn"] == job["jobArn"]


def test_artefacts_hold_the_losses(service: Service, job: dict[str, Any]) -> None:
    """The metrics files have a row a step and a row an epoch; the loss falls, and perplexity is its exponential."""
    training = rows(service, job, "training_artifacts/step_wise_training_metrics.csv")
    losses = [float(row["training_loss"]) for row in training]
    assert [int(row["step_number"]) for row in training] == list(range(1, 361))
    assert losses[-1] < 0.2 * losses[0]
    assert float(training[5]["perplexity"]) == pytest.approx(math.exp(losses[5]))
    validation = rows(
        service, job, "validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv"
    )
    assert [int(row["epoch_number"]) for row in validation] == [1, 2, 3]
    assert float(validation[-1]["validation_loss"]) == pytest.approx(job["validationMetrics"][0]["validationLoss"])


def test_the_model_names_its_job_and_data(service: Service, job: dict[str, Any]) -> None:
    """The custom model is found by name and by ARN, and names its job, data and losses."""
    model = service.bedrock.get_custom_model(modelIdentifier=job["outputModelName"])
    assert (model["modelArn"], model["jobArn"]) == (job["outputModelArn"], job["jobArn"])
    assert model["trainingMetrics"] == job["trainingMetrics"]
    listed = service.bedrock.list_custom_models(nameContains=job["outputModelName"])["modelSummaries"]
    assert [one["modelArn"] for one in listed] == [job["outputModelArn"]]
    by_arn = service.bedrock.get_custom_model(modelIdentifier=job["outputModelArn"])
    assert by_arn["modelName"] == job["outputModelName"]


def test_list_shows_the_job(service: Service, job: dict[str, Any]) -> None:
    """The list's summary has the status, the phases and the model."""
    listed = service.bedrock.list_model_customization_jobs(nameContains=job["jobName"])
    (summary,) = listed["modelCustomizationJobSummaries"]
    assert summary["customModelArn"] == job["outputModelArn"]
    assert [phase["status"] for phase in summary["statusDetails"].values()] == ["Completed"] * 3


def test_deployed_model_beats_the_base_model(service: Service, deployment: dict[str, Any]) -> None:
    """On questions that it has not seen, the trained model is right, and the base model is not."""
    asked = service.questions(180)[150:]
    right = {
        model: sum(service.text(model, question) == answer for question, answer in asked)
        for model in (deployment["customModelDeploymentArn"], "us.amazon.nova-micro-v1:0")
    }
    assert list(right.values()) == [30, 0]


def test_answer_has_all_that_converse_gives(service: Service, deployment: dict[str, Any]) -> None:
    """An answer counts its tokens and says why it ended; limits and stop sequences end it."""
    arn, (question, answer) = deployment["customModelDeploymentArn"], service.questions(1)[0]
    whole = service.ask(arn, question)
    assert whole["output"]["message"] == {"role": "assistant", "content": [{"text": answer}]}
    assert whole["stopReason"] == "end_turn"
    assert whole["usage"]["totalTokens"] == whole["usage"]["inputTokens"] + whole["usage"]["outputTokens"]
    assert whole["usage"]["outputTokens"] == 1
    cut = service.ask(arn, question, inferenceConfig={"maxTokens": 1})
    assert cut["stopReason"] == "max_tokens"
    stopped = service.ask(arn, question, inferenceConfig={"stopSequences": [answer[3:]]})
    assert stopped["stopReason"] == "stop_sequence"
    assert stopped["output"]["message"]["content"] == [{"text": answer[:3]}]


@pytest.mark.parametrize(
    "model_id",
    [
        "amazon.nova-micro-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-micro-v1:0",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
    ],
)
def test_base_models_answer_with_a_word_of_the_question(service: Service, model_id: str) -> None:
    """A base model, by whatever identifier, says some word of the question, and the same each time."""
    question = "Is this about a table, a bucket or a queue?"
    answer = service.text(model_id, question)
    assert answer in question
    assert service.text(model_id, question) == answer


def test_update_swaps_the_model_behind_a_deployment(service: Service, job: dict[str, Any]) -> None:
    """An update keeps the deployment's ARN; the old model answers until the new one is there."""
    arn = service.deploy(job["outputModelArn"])
    service.deployment(arn)
    data = service.put("other.jsonl", service.dataset(60).replace('"dynamodb"', '"the table service"'))
    other = service.job(service.create(trainingDataConfig={"s3Uri": data}))["outputModelArn"]
    service.bedrock.update_custom_model_deployment(modelArn=other, customModelDeploymentIdentifier=arn)
    during = service.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn)
    assert during["updateDetails"] == {"modelArn": other, "updateStatus": "Updating"}
    assert during["modelArn"] == job["outputModelArn"]
    question = service.questions(1)[0][0]
    assert service.text(arn, question) == "dynamodb"
    while (now := service.deployment(arn))["updateDetails"]["updateStatus"] == "Updating":
        pass
    assert (now["modelArn"], now["updateDetails"]["updateStatus"]) == (other, "UpdateCompleted")
    assert service.text(arn, question) == "the table service"


def test_model_cannot_be_deleted_while_it_is_deployed(service: Service) -> None:
    """First the deployment has to go, then the model can; afterwards neither is there, but the job is."""
    model = service.model()
    arn = service.deploy(model)
    with pytest.raises(ClientError, match="mutating state"):
        service.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=arn)
    service.deployment(arn)
    with pytest.raises(ClientError, match="ConflictException"):
        service.bedrock.delete_custom_model(modelIdentifier=model)
    service.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=arn)
    service.bedrock.delete_custom_model(modelIdentifier=model)
    for ask in (
        lambda: service.bedrock.get_custom_model(modelIdentifier=model),
        lambda: service.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn),
        lambda: service.ask(arn, "Hello?"),
    ):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            ask()
    jobs = service.bedrock.list_model_customization_jobs()["modelCustomizationJobSummaries"]
    assert model in [one.get("customModelArn") for one in jobs]


def test_continued_pre_training(service: Service) -> None:
    """Titan Text learns from plain text, without any prompt."""
    data = service.put("text.jsonl", '{"input": "The quick brown fox jumps over the lazy dog."}\n' * 20)
    arn = service.create(
        baseModelIdentifier="amazon.titan-text-lite-v1:0:4k",
        customizationType="CONTINUED_PRE_TRAINING",
        trainingDataConfig={"s3Uri": data},
    )
    job = service.job(arn)
    assert (job["status"], job["customizationType"]) == ("Completed", "CONTINUED_PRE_TRAINING")
    with pytest.raises(ClientError, match="cannot be deployed on demand"):
        service.deploy(job["outputModelArn"])
    assert service.text(service.provision(job["outputModelArn"]), "Go on.").endswith("over the lazy dog.")
