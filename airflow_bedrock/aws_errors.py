"""Which errors of an AWS call pass by themselves, and which do not. Pure: it reads an error and calls nothing."""

from __future__ import annotations

from botocore import exceptions
from botocore.exceptions import ClientError

CALL_ERRORS = (exceptions.BotoCoreError, ClientError)
"""What a call of AWS raises."""

# The call did not reach the service, or its response did not reach us.
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


_THROTTLING_CODES = frozenset(
    {"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)

# Wrong, old or absent credentials: another client, made from the connection as it is then, may have better ones.
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
    exceptions.TokenRetrievalError,
)


def error_code(error: ClientError) -> str:
    """Return the service's code for the error, e.g. ``ValidationException``; empty where it gave none."""
    return error.response.get("Error", {}).get("Code", "")


def is_not_found(error: BaseException) -> bool:
    """Whether the service said that the thing asked for does not exist."""
    return isinstance(error, ClientError) and error_code(error) == "ResourceNotFoundException"


def is_denied(error: BaseException) -> bool:
    """Whether the service said that the caller may not ask this."""
    return isinstance(error, ClientError) and error_code(error) in ("AccessDenied", "AccessDeniedException")


def is_throttled(error: BaseException) -> bool:
    """Whether the service said that it is asked too often."""
    if not isinstance(error, ClientError):
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status == 429 or error_code(error) in _THROTTLING_CODES


def is_about_credentials(error: BaseException) -> bool:
    """Whether the credentials are at fault, not what they may do: expired, being refreshed, replaced, absent."""
    if isinstance(error, ClientError):
        return error_code(error) in _CREDENTIAL_CODES
    return isinstance(error, _CREDENTIAL_ERRORS)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later, unchanged: throttling, a fault of the service, the network."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or error_code(error) in _TRANSIENT_CODES
    return isinstance(error, _NETWORK_ERRORS)
