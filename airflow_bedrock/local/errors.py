"""The errors that Local Bedrock returns."""

from __future__ import annotations


class ServiceError(Exception):
    """An error of AWS: its code and message go to the client.

    :param code: the error's name in the service model, such as ``ValidationException``.
    :param message: what happened and what to do.
    :param status: the HTTP status, for an error that is not in the service model; otherwise the model has it.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ServiceError:
    """Return a ValidationException: the request is wrong in every state."""
    return ServiceError("ValidationException", message)


def not_found(message: str) -> ServiceError:
    """Return a ResourceNotFoundException."""
    return ServiceError("ResourceNotFoundException", message)


def conflict(message: str) -> ServiceError:
    """Return a ConflictException: the request is valid, but not in the current state."""
    return ServiceError("ConflictException", message)


def unsupported(what: str) -> ServiceError:
    """Return the error for a feature of AWS that Local Bedrock does not have (HTTP 501, which no SDK retries)."""
    return ServiceError("NotImplementedException", f"Local Bedrock does not have {what}.", status=501)
