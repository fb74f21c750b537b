"""Which errors of AWS pass by themselves, which are about credentials, and which say that something is not there."""

from __future__ import annotations

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from airflow_bedrock.aws_errors import (
    error_code,
    is_about_credentials,
    is_denied,
    is_not_found,
    is_throttled,
    is_transient,
    with_remedy,
)

THROTTLING = {"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException"}
CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
TRANSIENT = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InternalServerException",
    "ModelNotReadyException",
    "RequestAbortedException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    *THROTTLING,
}
NOT_FOUND, DENIED = {"ResourceNotFoundException"}, {"AccessDenied", "AccessDeniedException"}
OTHER = {"ValidationException", "ConflictException", "ServiceQuotaExceededException", ""}
NETWORK = exceptions.EndpointConnectionError(endpoint_url="https://bedrock")


def error(code: str, status: int = 400, operation: str = "Operation") -> ClientError:
    response = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)  # type: ignore[arg-type]  # the rest of the metadata is not read


@pytest.mark.parametrize("code", sorted(THROTTLING | CREDENTIALS | TRANSIENT | NOT_FOUND | DENIED | OTHER))
def test_what_a_code_says(code: str) -> None:
    """By AWS's own names, and no more than each of them says; the status of a refusal says nothing."""
    one = error(code)
    assert error_code(one) == code
    assert is_throttled(one) == (code in THROTTLING)
    assert is_about_credentials(one) == (code in CREDENTIALS)
    assert is_transient(one) == (code in TRANSIENT)
    assert is_not_found(one) == (code in NOT_FOUND)
    assert is_denied(one) == (code in DENIED)


@pytest.mark.parametrize(
    ("status", "throttled", "transient"),
    [(428, False, False), (429, True, True), (499, False, False), (500, False, True)],
)
def test_what_a_status_says(status: int, throttled: bool, transient: bool) -> None:
    """HTTP 429 asks for fewer calls, and passes; each 5xx is a fault of the service, whatever its code."""
    assert is_throttled(error("Unknown", status)) is throttled
    assert is_transient(error("Unknown", status)) is transient


def test_an_error_without_a_code_or_a_status_says_nothing() -> None:
    """As botocore makes one of a response that it could not parse."""
    bare = ClientError({}, "Operation")
    assert error_code(bare) == ""
    assert not any(asked(bare) for asked in (is_throttled, is_about_credentials, is_transient, is_not_found, is_denied))


@pytest.mark.parametrize(
    ("raised", "transient", "credentials"),
    [
        (NETWORK, True, False),
        (exceptions.ReadTimeoutError(endpoint_url="https://bedrock"), True, False),
        (exceptions.HTTPClientError(error=OSError()), True, False),
        (ResponseParserError("no XML"), True, False),
        (ConnectionResetError(), True, False),
        (TimeoutError(), True, False),
        (exceptions.NoCredentialsError(), False, True),
        (exceptions.PartialCredentialsError(provider="env", cred_var="key"), False, True),
        (exceptions.CredentialRetrievalError(provider="sso", error_msg="no"), False, True),
        (exceptions.MetadataRetrievalError(error_msg="no"), False, True),
        (exceptions.NoAuthTokenError(), False, True),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="no"), False, True),
        (exceptions.UnauthorizedSSOTokenError(), False, True),
        (exceptions.ParamValidationError(report="no"), False, False),
        (ValueError(), False, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_did_not_come_from_the_service(raised: Exception, transient: bool, credentials: bool) -> None:
    """The network passes, credentials may be replaced, a mistake stays; no service has said anything."""
    assert is_transient(raised) is transient
    assert is_about_credentials(raised) is credentials
    assert not is_throttled(raised)
    assert not is_not_found(raised)
    assert not is_denied(raised)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (exceptions.NoCredentialsError(), "Unable to locate credentials. Set AWS_PROFILE, or the credentials of"),
        (exceptions.ProfileNotFound(profile="x"), "(x) could not be found. Set AWS_PROFILE, or profile_name in the"),
        (NETWORK, 'the endpoint URL: "https://bedrock". Check the region, the network, and AWS_ENDPOINT_URL or'),
        (error("ExpiredToken"), "calling the Operation operation: no. Renew or correct the credentials of"),
        (exceptions.UnauthorizedSSOTokenError(), "with the corresponding profile. Renew or correct the credentials of"),
        (
            error("400", operation="HeadObject"),
            "calling the HeadObject operation: no. S3 gives no reason. Renew the credentials if they have",
        ),
        (
            error("403", operation="HeadBucket"),
            "HeadBucket operation: no. S3 gives no reason. Check the credentials, and allow",
        ),
        (error("ValidationException"), "calling the Operation operation: no. Allow it."),
    ],
    ids=lambda value: getattr(value, "fmt", ""),
)
def test_what_to_do_is_said_of_credentials_and_of_the_connection(raised: Exception, said: str) -> None:
    """Instead of the remedy for any other error: permissions do not help without credentials."""
    message = with_remedy(raised, "Allow it.")
    assert said in message
    assert ("Allow it." in message) == (error_code(raised) == "ValidationException")


def test_an_error_without_advice_is_its_own_message() -> None:
    """Unchanged."""
    assert with_remedy(ValueError("No.")) == "No."
