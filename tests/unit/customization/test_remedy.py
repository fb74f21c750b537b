"""What helps against each error of the service and each failure message that is known."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.customization.remedy import Remedy, remedy_for_error, remedy_for_failure

EXPECTED = {
    "AccessDeniedException": Remedy.NONE,
    "ConflictException": Remedy.NAME_IN_USE,
    "InternalServerException": Remedy.RETRY,
    "ResourceNotFoundException": Remedy.NONE,
    "ServiceQuotaExceededException": Remedy.WAIT_FOR_SLOT,
    "ThrottlingException": Remedy.RETRY,
    "TooManyTagsException": Remedy.NONE,
    "ValidationException": Remedy.NONE,
}


def error(code: str, status: int = 400, message: str = "No.") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # the rest of the metadata is not read
        "CreateModelCustomizationJob",
    )


def test_every_declared_error_has_its_remedy() -> None:
    """All that the service model declares for the call, and no other."""
    model = ServiceModel(create_loader().load_service_model("bedrock", "service-2"))
    declared = {shape.name for shape in model.operation_model("CreateModelCustomizationJob").error_shapes}
    assert declared == set(EXPECTED)
    assert {code: remedy_for_error(error(code)) for code in EXPECTED} == EXPECTED


def test_a_name_in_use_is_read_whatever_the_error_code() -> None:
    """It was seen as a ValidationException."""
    said = "The provided job name is currently in use."
    assert remedy_for_error(error("ValidationException", message=said)) is Remedy.NAME_IN_USE


def test_a_role_that_is_not_known_yet_is_waited_for() -> None:
    """Terraform retries on this sentence, since a new role takes a while to be known everywhere."""
    said = "Could not assume provided IAM role."
    assert remedy_for_error(error("ValidationException", message=said)) is Remedy.WAIT_FOR_ROLE


def test_a_model_name_in_use_is_no_job_name_in_use() -> None:
    """Reading the job does not help."""
    said = "The provided model name is currently in use."
    assert remedy_for_error(error("ValidationException", message=said)) is Remedy.MODEL_NAME_IN_USE


@pytest.mark.parametrize(
    "code",
    ["UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "SignatureDoesNotMatch"],
)
def test_credentials_that_are_not_taken_may_be_better_later(code: str) -> None:
    """Nothing was asked for; before the call they are waited out too."""
    assert remedy_for_error(error(code, 403)) is Remedy.CREDENTIALS


@given(st.text(max_size=30))
def test_no_unknown_error_is_retried(code: str) -> None:
    """Unknown fails closed."""
    if code not in EXPECTED:
        assert remedy_for_error(error(code)) in (Remedy.NONE, Remedy.RETRY, Remedy.CREDENTIALS)
        assert remedy_for_error(error(f"x{code}")) is Remedy.NONE


@given(st.integers(500, 599))
def test_every_fault_of_the_service_passes(status: int) -> None:
    """Any 5xx, whatever it is called."""
    assert remedy_for_error(error("Whatever", status)) is Remedy.RETRY


def test_the_network_passes_and_missing_credentials_may_come() -> None:
    """What did not reach the service may reach it later."""
    for lost in (EndpointConnectionError(endpoint_url="x"), ConnectTimeoutError(endpoint_url="x"), TimeoutError()):
        assert remedy_for_error(lost) is Remedy.RETRY
    assert remedy_for_error(NoCredentialsError()) is Remedy.CREDENTIALS


@pytest.mark.parametrize(
    "said",
    [
        "Could not validate GetObject permissions to access Amazon S3 bucket: b at key k",
        "Amazon S3 perms missing (PutObject): Could not validate PutObject permissions to access S3 bucket: b at key "
        "output/.write_access_check_file.tmp",
        "Unable to parse Amazon S3 file: f. Data files must conform to JSONL format.",
        "Input size exceeded in file f for record starting with...",
        "Maximum input token count 4097 exceeds limit of 4096",
        "The loss is not a number. Please try again with a lower learning rate.",
        "The learning rate is too high: try again later with another one.",
        "Fix line 3 of the file and please try again.",
        "Something new",
        "",
        None,
    ],
)
def test_bad_data_and_missing_permissions_are_not_retried(said: str | None) -> None:
    """And so is whatever is not known."""
    assert remedy_for_failure(said) is Remedy.NONE


@pytest.mark.parametrize(
    "said",
    [
        "Internal error. Please try again.",
        "We could not process the request. Please try again later.",
        "Please try again",
        "Capacity was short; try again later",
        "The provided role cannot be assumed by Bedrock",
    ],
)
def test_a_fault_of_the_service_may_be_retried(said: str) -> None:
    """It is not the data's."""
    assert remedy_for_failure(said) is Remedy.RETRY
