"""Classify the errors of AWS calls: which ones are temporary, and what to do. Pure: it makes no call."""

from __future__ import annotations

from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

CALL_ERRORS = (exceptions.BotoCoreError, ClientError, ResponseParserError)
"""What an AWS call raises; the last one if the response is not XML, such as a proxy's page instead of one of S3."""

# The call did not reach the service, or its response did not reach us.
_NETWORK_ERRORS = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    ResponseParserError,
    ConnectionError,
    TimeoutError,
)

# In addition to throttling and every HTTP 5xx:
# https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html. The next call refreshes an expired token,
# and signs again a request that took too long to arrive or was signed while the clock was wrong.
_TRANSIENT_CODES = frozenset(
    {
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
    }
)

_THROTTLING_CODES = frozenset(
    {"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)

# Wrong, expired or missing credentials: a new client reads the connection again, and may have valid ones.
_CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_CREDENTIAL_ERRORS = (
    exceptions.CredentialRetrievalError,
    exceptions.MetadataRetrievalError,
    exceptions.NoAuthTokenError,
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)


class UnreadableResponseError(exceptions.HTTPClientError):
    """A successful response that is not the service's: it comes from a proxy, or is cut off.

    botocore would read it as a response without members: as an empty list, for example.
    """

    fmt = "Could not read the response to {operation}: {error}"


def error_code(error: BaseException | None) -> str:
    """Return the service's code for an error, e.g. ``ValidationException``; empty if the service gave none."""
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""


def _http_status(error: BaseException) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(error, ClientError) else 0


def is_not_found(error: BaseException) -> bool:
    """Whether the service said that the resource does not exist."""
    return error_code(error) == "ResourceNotFoundException"


def is_denied(error: BaseException) -> bool:
    """Whether the service denied the caller access."""
    return error_code(error) in ("AccessDenied", "AccessDeniedException")


def is_throttled(error: BaseException) -> bool:
    """Whether the service throttled the call."""
    return _http_status(error) == 429 or error_code(error) in _THROTTLING_CODES


def is_about_credentials(error: BaseException) -> bool:
    """Whether the credentials are invalid: expired, being refreshed, replaced or missing; not their permissions."""
    return isinstance(error, _CREDENTIAL_ERRORS) or error_code(error) in _CREDENTIAL_CODES


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later, unchanged: throttling, a fault of the service, the network."""
    if isinstance(error, _NETWORK_ERRORS) or is_throttled(error) or _is_of_a_proxy(error):
        return True
    return _http_status(error) >= 500 or error_code(error) in _TRANSIENT_CODES


def _is_of_a_proxy(error: BaseException) -> bool:
    """Whether the response names no error, only a status: the service names each, except to a HEAD request."""
    return error_code(error) == str(_http_status(error)) and not _is_of_head(error)


def _is_of_head(error: BaseException) -> bool:
    return isinstance(error, ClientError) and error.operation_name.startswith("Head")


# botocore's errors say what happened, but not what to do. The first that fits counts.
_REMEDIES = (
    (
        (exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
        "Set AWS_PROFILE, or the credentials of the Airflow connection; for Local Bedrock, export the variables that "
        "`airflow-bedrock local` prints.",
    ),
    (
        exceptions.ProfileNotFound,
        "Set AWS_PROFILE, or profile_name in the Airflow connection, to a profile that `aws configure list-profiles` "
        "lists.",
    ),
    (
        exceptions.EndpointConnectionError,
        "Check the region, the network, and AWS_ENDPOINT_URL or the endpoint_url of the Airflow connection; if it is "
        "Local Bedrock's, start `airflow-bedrock local`.",
    ),
)
# S3 responds to a HEAD request without a reason.
_HEAD_REMEDIES = {
    "400": "S3 gives no reason. Renew the credentials if they have expired, and check the region.",
    "403": "S3 gives no reason. Check the credentials, and allow s3:GetObject and s3:ListBucket.",
}
_RENEW = "Renew or correct the credentials of AWS_PROFILE or of the Airflow connection."


def with_remedy(error: BaseException, otherwise: str = "") -> str:
    """Return the message of an error, and what to do if it is about credentials or the connection to AWS.

    :param otherwise: what to do about any other error.
    """
    remedy = next((remedy for kinds, remedy in _REMEDIES if isinstance(error, kinds)), "")
    if not remedy:
        by_code = _HEAD_REMEDIES if _is_of_head(error) else {}
        remedy = _RENEW if is_about_credentials(error) else by_code.get(error_code(error), otherwise)
    return f"{str(error).rstrip('.')}. {remedy}" if remedy else str(error)
