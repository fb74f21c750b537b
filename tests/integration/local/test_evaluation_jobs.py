"""Evaluation jobs over HTTP: judged and computed metrics, answers brought along, results in the documented layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

JUDGE = {"bedrockEvaluatorModels": [{"modelIdentifier": "amazon.nova-pro-v1:0"}]}
SOURCE = "my-model"
BROUGHT = {"models": [{"precomputedInferenceSource": {"inferenceSourceIdentifier": SOURCE}}]}
ASKED = {"models": [{"bedrockModel": {"modelIdentifier": "amazon.nova-micro-v1:0"}}]}


def request(
    service: Service, data: str, inference: dict[str, Any], *metrics: str, judged: bool = True
) -> dict[str, Any]:
    automated: dict[str, Any] = {
        "datasetMetricConfigs": [
            {
                "taskType": "QuestionAndAnswer",
                "dataset": {"name": "questions", "datasetLocation": {"s3Uri": data}},
                "metricNames": list(metrics),
            }
        ]
    }
    if judged:
        automated["evaluatorModelConfig"] = JUDGE
    return {
        "jobName": service.name("evaluation"),
        "roleArn": service.local.role_arn,
        "evaluationConfig": {"automated": automated},
        "inferenceConfig": inference,
        "outputDataConfig": {"s3Uri": f"s3://{service.local.bucket}/evaluations"},
    }


def dataset(service: Service, *lines: dict[str, Any]) -> str:
    return service.put(f"{service.name('questions')}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def brought(prompt: str, reference: str, answer: str, source: str = SOURCE) -> dict[str, Any]:
    responses = [{"response": answer, "modelIdentifier": source}]
    return {"prompt": prompt, "referenceResponse": reference, "modelResponses": responses}


def ended(service: Service, arn: str) -> dict[str, Any]:
    while (job := service.bedrock.get_evaluation_job(jobIdentifier=arn))["status"] in ("InProgress", "Stopping"):
        pass
    found: dict[str, Any] = job
    return found


def refused(call: Any, **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def results(service: Service, prefix: str) -> list[dict[str, Any]]:
    (found,) = service.s3.list_objects_v2(Bucket=service.local.bucket, Prefix=prefix)["Contents"]
    assert found["Key"].endswith("_output.jsonl")
    body = service.s3.get_object(Bucket=service.local.bucket, Key=found["Key"])["Body"]
    with body:
        return [json.loads(line) for line in body.read().splitlines()]


def test_brought_answers_are_judged(service: Service) -> None:
    """Answers that the dataset brings along are judged; a right one scores 1, a wrong one 0, a refusal is told."""
    data = dataset(
        service,
        brought("Capital of France?", "Paris", "Paris"),
        brought("Capital of Spain?", "Madrid", "I'm sorry, I do not know"),
    )
    wanted = request(service, data, BROUGHT, "Builtin.Correctness", "Builtin.Refusal")
    created = service.bedrock.create_evaluation_job(**wanted)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 202
    job = ended(service, created["jobArn"])
    assert (job["status"], job["jobType"], job.get("failureMessages")) == ("Completed", "Automated", None)
    identifier = created["jobArn"].rpartition("/")[2]
    folder = (
        f"evaluations/{wanted['jobName']}/{identifier}/models/{SOURCE}/taskTypes/QuestionAndAnswer/datasets/questions/"
    )
    found = results(service, folder)
    scores = [
        {one["metricName"]: one["result"] for one in result["automatedEvaluationResult"]["scores"]} for result in found
    ]
    assert scores == [
        {"Builtin.Correctness": 1.0, "Builtin.Refusal": 0.0},
        {"Builtin.Correctness": 0.0, "Builtin.Refusal": 1.0},
    ]
    assert found[0]["inputRecord"] == {"prompt": "Capital of France?", "referenceResponse": "Paris"}
    assert found[0]["modelResponses"] == [{"response": "Paris", "modelIdentifier": SOURCE}]
    details = found[0]["automatedEvaluationResult"]["scores"][0]["evaluatorDetails"]
    assert details[0]["modelIdentifier"] == "amazon.nova-pro-v1:0"


def test_model_is_asked_without_a_judge(service: Service) -> None:
    """A base model is asked itself, and its answers are compared with the references."""
    data = dataset(service, {"prompt": "bucket", "referenceResponse": "bucket"})
    wanted = request(service, data, ASKED, "Builtin.Accuracy", judged=False)
    arn = service.bedrock.create_evaluation_job(**wanted)["jobArn"]
    assert ended(service, arn)["status"] == "Completed"
    (result,) = results(service, f"evaluations/{wanted['jobName']}/")
    assert result["automatedEvaluationResult"]["scores"] == [{"metricName": "Builtin.Accuracy", "result": 1.0}]


def test_brought_answers_must_name_their_source(service: Service) -> None:
    """Answers of another source fail the job, and failureMessages tell why."""
    data = dataset(service, brought("a", "b", "c", source="another"))
    job = ended(
        service, service.bedrock.create_evaluation_job(**request(service, data, BROUGHT, "Builtin.Relevance"))["jobArn"]
    )
    assert job["status"] == "Failed"
    assert job["failureMessages"] == [f"Each record must hold one response, and its modelIdentifier must be {SOURCE}"]


def test_life_of_a_job(service: Service) -> None:
    """A job is listed, stopped, and deleted when it has ended; its name is taken until then."""
    data = dataset(service, brought("a", "b", "c"))
    wanted = request(service, data, BROUGHT, "Builtin.Relevance")
    arn = service.bedrock.create_evaluation_job(**wanted)["jobArn"]
    assert refused(service.bedrock.create_evaluation_job, **wanted | {"clientRequestToken": "x" * 40})[1] == (
        "ConflictException"
    )
    assert refused(service.bedrock.get_evaluation_job, jobIdentifier=wanted["jobName"])[0] in (400, 404)
    delete = service.bedrock.batch_delete_evaluation_job
    (error,) = delete(jobIdentifiers=[arn])["errors"]
    assert (error["jobIdentifier"], error["code"]) == (arn, "ConflictException")
    service.bedrock.stop_evaluation_job(jobIdentifier=arn)
    assert ended(service, arn)["status"] == "Stopped"
    assert refused(service.bedrock.stop_evaluation_job, jobIdentifier=arn) == (400, "ConflictException")
    (summary,) = service.bedrock.list_evaluation_jobs(nameContains=wanted["jobName"])["jobSummaries"]
    assert (summary["jobArn"], summary["status"]) == (arn, "Stopped")
    sources = summary["inferenceConfigSummary"]["modelConfigSummary"]["precomputedInferenceSourceIdentifiers"]
    assert sources == [SOURCE]
    answer = delete(jobIdentifiers=[arn])
    assert answer["evaluationJobs"] == [{"jobIdentifier": arn, "jobStatus": "Deleting"}]
    while service.bedrock.list_evaluation_jobs(nameContains=wanted["jobName"]).get("jobSummaries"):
        pass
    assert refused(service.bedrock.get_evaluation_job, jobIdentifier=arn) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    ("metric", "judged", "inference"),
    [
        ("Builtin.Accuracy", True, ASKED),
        ("Builtin.Correctness", False, ASKED),
        ("Builtin.Accuracy", False, BROUGHT),
        ("Builtin.Correctness", True, {"models": [*ASKED["models"], *BROUGHT["models"]]}),
    ],
)
def test_request_that_cannot_be_evaluated_is_refused(
    service: Service, metric: str, judged: bool, inference: dict[str, Any]
) -> None:
    """Metrics have to suit the kind of evaluation, and one model is evaluated at a time."""
    wanted = request(service, "s3://b/k", inference, metric, judged=judged)
    assert refused(service.bedrock.create_evaluation_job, **wanted) == (400, "ValidationException")


def test_custom_model_is_no_model_to_evaluate(service: Service) -> None:
    """The service evaluates no custom models and no deployments; their answers are brought along instead."""
    deployment = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefghij12"
    inference = {"models": [{"bedrockModel": {"modelIdentifier": deployment}}]}
    wanted = request(service, "s3://b/k", inference, "Builtin.Correctness")
    assert refused(service.bedrock.create_evaluation_job, **wanted) == (400, "ValidationException")
