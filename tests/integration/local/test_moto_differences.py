"""Where moto's Bedrock differs from the service, as measured: each point is right here, and has its test."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.kms_keys import make_key

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

JOB_ARN = r"arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon\.nova-micro-v1:0:128k/[a-z0-9]{12}"
MODEL_ARN = r"arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon\.nova-micro-v1:0:128k/[a-z0-9]{12}"
LATER = {"outputModelArn", "endTime", "failureMessage", "trainingMetrics"}


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, Any]:
    """A completed job."""
    return service.job(service.create())


def error(call: Any, **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def raw(service: Service, call: str, **parameters: Any) -> dict[str, Any]:
    """Return an answer's JSON as it came over the wire."""
    found: list[bytes] = []
    service.bedrock.meta.events.register_first(
        "after-call", lambda http_response, **_: found.append(http_response.content)
    )
    getattr(service.bedrock, call)(**parameters)
    answer: dict[str, Any] = json.loads(found[-1])
    return answer


def test_create_answers_201(service: Service) -> None:
    """Creating a job answers 201; the upstream operator takes nothing else."""
    created = service.bedrock.create_model_customization_job(**service.request())
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    service.job(created["jobArn"])


def test_job_arn_has_the_services_form(job: dict[str, Any]) -> None:
    """A job's ARN names the base model and ends in 12 letters and digits."""
    assert re.fullmatch(JOB_ARN, job["jobArn"])


def test_output_model_is_the_one_asked_for(service: Service, job: dict[str, Any]) -> None:
    """The model has the name that was asked for, and its ARN is found."""
    model = service.bedrock.get_custom_model(modelIdentifier=job["outputModelArn"])
    assert re.fullmatch(MODEL_ARN, model["modelArn"])
    assert model["modelName"] == job["outputModelName"]


def test_no_kms_key_is_invented(service: Service, job: dict[str, Any]) -> None:
    """There is a key's ARN only where a key was asked for."""
    assert "outputModelKmsKeyArn" not in job
    key = make_key(service.local)
    with_key = service.job(service.create(customModelKmsKeyId=key.rpartition("/")[2]))
    assert with_key["outputModelKmsKeyArn"] == key


def test_get_stop_and_delete_work_by_arn(service: Service) -> None:
    """A job is described and stopped, and a model deleted, by ARN."""
    arn = service.create()
    service.bedrock.stop_model_customization_job(jobIdentifier=arn)
    assert service.job(arn)["status"] == "Stopped"
    model = service.model()
    service.bedrock.delete_custom_model(modelIdentifier=model)
    assert error(service.bedrock.get_custom_model, modelIdentifier=model) == (404, "ResourceNotFoundException")


def test_not_found_is_404(service: Service) -> None:
    """What is not there is HTTP 404."""
    answer = error(service.bedrock.get_model_customization_job, jobIdentifier="nobody")
    assert answer == (404, "ResourceNotFoundException")


def test_name_conflict_is_a_validation_exception(service: Service, job: dict[str, Any]) -> None:
    """A job name in use is a ValidationException, not a ResourceInUseException."""
    answer = error(service.bedrock.create_model_customization_job, **service.request(jobName=job["jobName"]))
    assert answer == (400, "ValidationException")


def test_client_request_token_is_honoured(service: Service) -> None:
    """The same request with the same token makes one job."""
    request = service.request(clientRequestToken=service.name("token"))
    arns = {service.bedrock.create_model_customization_job(**request)["jobArn"] for _ in range(3)}
    assert len(arns) == 1
    assert service.job(arns.pop())["clientRequestToken"] == request["clientRequestToken"]


def test_running_job_has_no_results_and_then_ends(service: Service) -> None:
    """While a job is InProgress it has no end, failure, model or losses, and it does not stay InProgress."""
    arn = service.create()
    running = service.bedrock.get_model_customization_job(jobIdentifier=arn)
    assert running["status"] == "InProgress"
    assert not LATER & set(running)
    assert running["validationMetrics"] == []
    ended = service.job(arn)
    assert ended["status"] == "Completed"
    assert ended["trainingMetrics"]["trainingLoss"] > 0


def test_stop_takes_time_and_needs_a_running_job(service: Service) -> None:
    """A stopped job is Stopping first, and one that has ended cannot be stopped."""
    arn = service.create()
    service.bedrock.stop_model_customization_job(jobIdentifier=arn)
    assert service.bedrock.get_model_customization_job(jobIdentifier=arn)["status"] == "Stopping"
    assert service.job(arn)["status"] == "Stopped"
    assert error(service.bedrock.stop_model_customization_job, jobIdentifier=arn) == (400, "ConflictException")


def test_model_comes_with_completion(service: Service) -> None:
    """There is no model while the job runs, and none after a stop."""
    request = service.request()
    arn = service.bedrock.create_model_customization_job(**request)["jobArn"]
    name = request["customModelName"]
    assert error(service.bedrock.get_custom_model, modelIdentifier=name)[0] == 404
    service.bedrock.stop_model_customization_job(jobIdentifier=arn)
    service.job(arn)
    assert error(service.bedrock.get_custom_model, modelIdentifier=name)[0] == 404


def test_customization_config_is_kept(service: Service) -> None:
    """The job and its model return the configuration of the distillation."""
    config = {"distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": "amazon.nova-pro-v1:0"}}}
    job = service.job(service.create(customizationType="DISTILLATION", customizationConfig=config))
    assert (job["status"], job["customizationConfig"]) == ("Completed", config)
    model = service.bedrock.get_custom_model(modelIdentifier=job["outputModelArn"])
    assert model["customizationConfig"] == config


def test_invocation_logs_are_taken(service: Service) -> None:
    """Training data may be invocation logs."""
    log = {"input": {"inputBodyJson": {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}}}
    service.put("logs/2026/11/20.json", f"{json.dumps(log)}\n" * 100)
    source = {"invocationLogSource": {"s3Uri": f"s3://{service.local.bucket}/logs/"}}
    config = {"distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": "amazon.nova-pro-v1:0"}}}
    job = service.job(
        service.create(
            trainingDataConfig={"invocationLogsConfig": source},
            customizationType="DISTILLATION",
            customizationConfig=config,
        )
    )
    assert job["status"] == "Completed", job


def test_status_details_are_there(job: dict[str, Any]) -> None:
    """Each phase has its status and times."""
    details = job["statusDetails"]
    assert set(details) == {"validationDetails", "dataProcessingDetails", "trainingDetails"}
    assert all(set(phase) == {"status", "creationTime", "lastModifiedTime"} for phase in details.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"jobName": "-"},
        {"customModelName": "a.b"},
        {"roleArn": "arn:aws:iam::123456789012:user/me"},
        {"roleArn": "arn:aws:iam::123456789012:role/nobody"},
        {"customizationType": "MAGIC"},
        {"baseModelIdentifier": "nobody.nothing-v1:0"},
    ],
)
def test_requests_are_checked(service: Service, changes: dict[str, str]) -> None:
    """Names, role, type and base model are checked."""
    answer = error(service.bedrock.create_model_customization_job, **service.request(**changes))
    assert answer == (400, "ValidationException")


@pytest.mark.parametrize("prefix", ["", "arn:aws:bedrock:us-east-1::foundation-model/"])
def test_base_model_arn_is_made_once(service: Service, prefix: str) -> None:
    """A base model named by id or by ARN has the same ARN in the answer."""
    arn = service.create(baseModelIdentifier=f"{prefix}amazon.nova-micro-v1:0:128k")
    expected = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0:128k"
    assert service.job(arn)["baseModelArn"] == expected


def test_51_tags_leave_no_job(service: Service) -> None:
    """Too many tags are an error, and there is no job afterwards."""
    request = service.request(jobTags=[{"key": f"k{n}", "value": "v"} for n in range(51)])
    assert error(service.bedrock.create_model_customization_job, **request) == (400, "TooManyTagsException")
    assert error(service.bedrock.get_model_customization_job, jobIdentifier=request["jobName"])[0] == 404


def test_times_are_iso_8601(service: Service, job: dict[str, Any]) -> None:
    """Times go over the wire in ISO 8601, with a zone."""
    sent = raw(service, "get_model_customization_job", jobIdentifier=job["jobArn"])["creationTime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", sent)
    assert datetime.fromisoformat(sent) == job["creationTime"]


def test_creation_time_after_compares_times(service: Service, job: dict[str, Any]) -> None:
    """Times are compared as times, whatever the zone they are written in."""
    list_jobs = service.bedrock.list_model_customization_jobs
    elsewhere = job["creationTime"].astimezone(UTC) - timedelta(seconds=1)
    found = list_jobs(creationTimeAfter=elsewhere, nameContains=job["jobName"])["modelCustomizationJobSummaries"]
    assert [one["jobArn"] for one in found] == [job["jobArn"]]
    after = list_jobs(creationTimeAfter=job["creationTime"], nameContains=job["jobName"])
    assert after["modelCustomizationJobSummaries"] == []


def test_sort_by_alone_works(service: Service, job: dict[str, Any]) -> None:
    """Sorting needs no order to be given."""
    found = service.bedrock.list_model_customization_jobs(sortBy="CreationTime", nameContains=job["jobName"])
    assert [one["jobArn"] for one in found["modelCustomizationJobSummaries"]] == [job["jobArn"]]


def test_models_are_filtered_by_what_is_asked(service: Service, job: dict[str, Any]) -> None:
    """ListCustomModels filters by the model's name and base model, not by the job's."""
    list_models = service.bedrock.list_custom_models
    assert list_models(nameContains=job["jobName"])["modelSummaries"] == []
    found = list_models(nameContains=job["outputModelName"], baseModelArnEquals=job["baseModelArn"])
    assert [one["modelArn"] for one in found["modelSummaries"]] == [job["outputModelArn"]]
    other = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0:300k"
    assert list_models(nameContains=job["outputModelName"], foundationModelArnEquals=other)["modelSummaries"] == []


def test_unknown_operation_is_an_aws_error(service: Service) -> None:
    """What is not built is an error of AWS's form that names the operation, not a page of HTML."""
    with pytest.raises(ClientError, match="ListGuardrails") as caught:
        service.bedrock.list_guardrails()
    assert caught.value.response["Error"]["Code"] == "NotImplementedException"


def test_invoke_model_answers(service: Service) -> None:
    """InvokeModel answers with a body of the model's own form, and not with {}."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "bucket"}]}]})
    answer = service.runtime.invoke_model(modelId="amazon.nova-micro-v1:0", body=body)
    with answer["body"]:
        said = json.loads(answer["body"].read())
    assert said["output"]["message"]["content"] == [{"text": "bucket"}]
