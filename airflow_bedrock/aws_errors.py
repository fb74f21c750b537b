"""Which errors of an AWS call pass by themselves, and which do not. Pure: it reads an error and calls nothing."""

from __future__ import annotations

from botocore import exceptions
from botocore.exceptions import ClientError

# The call did not reach the service, or its answer did not reach us.
_NETWORK_ERRORS = (exceptions.ConnectionError, exceptions.HTTPClientError, ConnectionError, TimeoutError)

# Beside every HTTP 5xx: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html. A token that
# has expired is refreshed by the next call's credentials.
_TRANSIENT_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalServerException",
        "ModelNotReadyException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def error_code(error: ClientError) -> str:
    """Return the service's code for the error, e.g. ``ValidationException``; empty where it gave none."""
    return error.response.get("Error", {}).get("Code", "")


def is_not_found(error: BaseException) -> bool:
    """Whether the service said that the thing asked for does not exist."""
    return isinstance(error, ClientError) and error_code(error) == "ResourceNotFoundException"


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later, unchanged: throttling, a fault of the service, the network."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or error_code(error) in _TRANSIENT_CODES
    return isinstance(error, _NETWORK_ERRORS)
