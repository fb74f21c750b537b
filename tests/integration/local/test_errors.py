"""Errors: each with the service's code, HTTP status and, where it is known, message."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from tests.kms_keys import kms, make_key

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

MODEL_ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghij12"
DEPLOYMENT_ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefghij12"

SETTINGS = {"deployment_seconds": 1}  # long enough to be seen


def refused(call: Any, **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"jobName": "no spaces"},
            "1 validation error detected: Value at 'jobName' failed to satisfy constraint: Member must satisfy regular "
            r"expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9\+\-\.])*",
        ),
        (
            {"customModelName": "x" * 64},
            "2 validation errors detected: Value at 'customModelName' failed to satisfy constraint: Member must have "
            "length less than or equal to 63",
        ),
        ({"customizationType": "MAGIC"}, "Member must satisfy enum value set: [FINE_TUNING, "),
        ({"baseModelIdentifier": "amazon.nova-sonic-v1:0"}, "cannot be customized"),
        ({"customizationType": "CONTINUED_PRE_TRAINING"}, "does not support customization of type"),
        ({"hyperParameters": {"epochCount": "6"}}, "epochCount must be a whole number between 1 and 5, not '6'"),
        ({"hyperParameters": {"learningRate": "fast"}}, "learningRate must be a number between 1e-06 and 0.0001"),
        ({"hyperParameters": {"temperature": "1"}}, "Unknown hyperparameters for Amazon Nova: temperature"),
        ({"trainingDataConfig": {}}, "must have an s3Uri"),
        ({"baseModelIdentifier": "meta.llama3-3-70b-instruct-v1:0:128k"}, "in us-east-1, but in us-west-2"),
        ({"customizationType": "DISTILLATION"}, "needs distillationConfig in customizationConfig, not nothing"),
        ({"roleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume provided IAM role."),
    ],
)
def test_bad_request_is_refused(service: Service, changes: dict[str, Any], message: str) -> None:
    """A request that breaks a rule is a ValidationException (400), and makes no job."""
    request = service.request(**changes)
    status, code, text = refused(service.bedrock.create_model_customization_job, **request)
    assert (status, code) == (400, "ValidationException")
    assert message in text
    jobs = service.bedrock.list_model_customization_jobs()["modelCustomizationJobSummaries"]
    assert request["jobName"] not in [job["jobName"] for job in jobs]


def test_a_key_that_encrypts_nothing_is_refused(service: Service) -> None:
    """Whatever makes a model refuses a key that is not there, not in its region, not enabled, or not symmetric."""
    with closing(kms(service.local)) as keys:
        disabled, dying, pair = (
            keys.create_key(**spec)["KeyMetadata"]["KeyId"] for spec in ({}, {}, {"KeySpec": "RSA_2048"})
        )
        keys.disable_key(KeyId=disabled)
        keys.schedule_key_deletion(KeyId=dying)
    unknown = "12345678-1234-1234-1234-123456789012"
    missing = (unknown, f"arn:aws:kms:us-east-1:123456789012:key/{unknown}", "alias/nobodys")
    wrong = {disabled: "Disabled", dying: "PendingDeletion", pair: "RSA_2048"}
    wrong |= dict.fromkeys((*missing, make_key(service.local, region="us-west-2")), "was not found in us-east-1")
    source = {"s3DataSource": {"s3Uri": f"s3://{service.local.bucket}/model/"}}
    imported = {"jobName": "key", "importedModelName": "key", "roleArn": service.local.role_arn}
    bedrock = service.bedrock
    for key, reason in wrong.items():
        for call, request in (
            (bedrock.create_model_customization_job, service.request(customModelKmsKeyId=key)),
            (bedrock.create_model_import_job, {**imported, "modelDataSource": source, "importedModelKmsKeyId": key}),
        ):
            status, code, text = refused(call, **request)
            assert (status, code, reason in text) == (400, "ValidationException", True), text
    request = {"modelName": "key", "modelSourceConfig": source, "modelKmsKeyArn": disabled}
    assert refused(bedrock.create_custom_model, **request)[:2] == (400, "ValidationException")
    request = {"sourceModelArn": service.model(), "targetModelName": "key", "modelKmsKeyId": make_key(service.local)}
    with closing(service.local.client("bedrock", "us-west-2")) as west:
        assert "was not found in us-west-2" in refused(west.create_model_copy_job, **request)[2]


def test_too_many_tags(service: Service) -> None:
    """More than 50 tags are refused, and there is no job afterwards."""
    tags = [{"key": f"k{number}", "value": "v"} for number in range(51)]
    request = service.request(jobTags=tags)
    status, code, _ = refused(service.bedrock.create_model_customization_job, **request)
    assert (status, code) == (400, "TooManyTagsException")
    assert refused(service.bedrock.get_model_customization_job, jobIdentifier=request["jobName"])[0] == 404


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_model_customization_job", {"jobIdentifier": "no-such-job"}),
        ("stop_model_customization_job", {"jobIdentifier": "no-such-job"}),
        ("get_custom_model", {"modelIdentifier": "no-such-model"}),
        ("get_custom_model", {"modelIdentifier": MODEL_ARN}),
        ("delete_custom_model", {"modelIdentifier": "no-such-model"}),
        ("get_custom_model_deployment", {"customModelDeploymentIdentifier": "no-such-deployment"}),
        ("delete_custom_model_deployment", {"customModelDeploymentIdentifier": DEPLOYMENT_ARN}),
        ("create_custom_model_deployment", {"modelDeploymentName": "deployment", "modelArn": MODEL_ARN}),
    ],
)
def test_what_is_not_there_is_not_found(service: Service, operation: str, parameters: dict[str, str]) -> None:
    """Whatever does not exist is a ResourceNotFoundException (404)."""
    assert refused(getattr(service.bedrock, operation), **parameters)[:2] == (404, "ResourceNotFoundException")


def test_job_name_is_used_up_for_good(service: Service) -> None:
    """A job's name cannot be used again, not even after the job has failed."""
    arn = service.create(trainingDataConfig={"s3Uri": f"s3://{service.local.bucket}/nothing.jsonl"})
    job = service.job(arn)
    assert job["status"] == "Failed"
    again = service.request(jobName=job["jobName"])
    assert refused(service.bedrock.create_model_customization_job, **again) == (
        400,
        "ValidationException",
        "The provided job name is currently in use.",
    )


def test_model_name_is_free_again_when_its_model_is_gone(service: Service) -> None:
    """Two models cannot have one name at the same time, but one after the other they can."""
    name = service.name("model")
    first = service.job(service.create(customModelName=name))
    status, code, _ = refused(service.bedrock.create_model_customization_job, **service.request(customModelName=name))
    assert (status, code) == (400, "ValidationException")
    service.bedrock.delete_custom_model(modelIdentifier=first["outputModelArn"])
    assert service.job(service.create(customModelName=name))["status"] == "Completed"


def test_a_failed_job_says_why(service: Service) -> None:
    """Bad data fails the job with the service's message, and leaves no model and no metrics."""
    data = service.put("bad.jsonl", service.dataset(10) + "\n{not json}\n")
    job = service.job(service.create(trainingDataConfig={"s3Uri": data}))
    assert job["status"] == "Failed"
    assert job["failureMessage"].startswith(
        f"Unable to parse Amazon S3 file: {data}. Data files must conform to JSONL format."
    )
    assert job["statusDetails"]["validationDetails"]["status"] == "Failed"
    assert "endTime" in job
    assert not {"outputModelArn", "trainingMetrics"} & set(job)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("list_guardrails", {}),
        ("get_evaluation_job", {"jobIdentifier": "arn:aws:bedrock:us-east-1:123456789012:evaluation-job/abcdefghijkl"}),
    ],
)
def test_unsupported_operation_says_so(service: Service, operation: str, parameters: dict[str, Any]) -> None:
    """An operation that AWS has and Local Bedrock has not is an AWS error that names it."""
    status, code, message = refused(getattr(service.bedrock, operation), **parameters)
    assert (status, code) == (501, "NotImplementedException")
    assert operation.replace("_", "") in message.lower()


@pytest.mark.parametrize(
    ("model_id", "status", "code"),
    [
        (DEPLOYMENT_ARN, 404, "ResourceNotFoundException"),
        (MODEL_ARN, 400, "ValidationException"),
        ("nobody.nothing-v1:0", 400, "ValidationException"),
    ],
)
def test_model_that_cannot_be_asked(service: Service, model_id: str, status: int, code: str) -> None:
    """Asking a model that is not deployed, or that nobody knows, is refused."""
    assert refused(service.ask, model_id=model_id, question="Hello?")[:2] == (status, code)


def test_deployment_that_is_not_ready(service: Service) -> None:
    """Asking a deployment that is being created is a ModelNotReadyException (429)."""
    arn = service.deploy(service.model())
    client = service.local.client("bedrock-runtime")
    client.meta.events.register("needs-retry", lambda **_: None, unique_id="retry-config-bedrock-runtime")
    request = {"modelId": arn, "messages": [{"role": "user", "content": [{"text": "Hello?"}]}]}
    try:
        client.meta.events.unregister("needs-retry.bedrock-runtime", unique_id="retry-config-bedrock-runtime")
        assert refused(client.converse, **request)[:2] == (429, "ModelNotReadyException")
    finally:
        client.close()
        service.deployment(arn)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": [{"text": "Hello"}]}],
        [{"role": "user", "content": [{"text": "Hello"}]}, {"role": "assistant", "content": [{"text": "Hi"}]}],
    ],
)
def test_conversation_must_end_with_the_user(service: Service, messages: list[Any]) -> None:
    """A conversation that does not begin and end with the user is refused."""
    answer = refused(service.runtime.converse, modelId="amazon.nova-micro-v1:0", messages=messages)
    assert answer[:2] == (400, "ValidationException")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/no/such/path", b"", 404, "UnknownOperationException"),
        ("POST", "/model-customization-jobs", b"<html>", 400, "SerializationException"),
        ("GET", "/model-customization-jobs?maxResults=many", b"", 400, "SerializationException"),
        ("GET", "/model-customization-jobs?maxResults=0", b"", 400, "ValidationException"),
        ("GET", "/model-customization-jobs?maxResults=1001", b"", 400, "ValidationException"),
        ("GET", "/model-customization-jobs?nextToken=abc", b"", 400, "ValidationException"),
    ],
)
def test_raw_requests_get_aws_errors(
    service: Service, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    """What no SDK would send gets an error of AWS's form too, never HTML."""
    request = AWSRequest(method, service.local.endpoint_url + path, data=body)
    SigV4Auth(Credentials("local", "local"), "bedrock", "us-east-1").add_auth(request)
    session = URLLib3Session()
    try:
        response = session.send(request.prepare())
    finally:
        session.close()
    assert (response.status_code, response.headers["x-amzn-ErrorType"]) == (status, code)
    assert response.headers["Content-Type"] == "application/json"
