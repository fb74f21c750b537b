"""The errors that Local Bedrock answers with."""

from __future__ import annotations


class ServiceError(Exception):
    """An AWS error: its code and message go to the client.

    :param code: the error's name in the service model, such as ``ValidationException``.
    :param message: what happened and what to do.
    :param status: the HTTP status, for an error that the service model does not have; otherwise the model says.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ServiceError:
    """Return a ValidationException: the request cannot be right, now or later."""
    return ServiceError("ValidationException", message)


def not_found(message: str) -> ServiceError:
    """Return a ResourceNotFoundException."""
    return ServiceError("ResourceNotFoundException", message)


def conflict(message: str) -> ServiceError:
    """Return a ConflictException: the request is right, but not in the present state."""
    return ServiceError("ConflictException", message)


def not_built(what: str) -> ServiceError:
    """Return the error for what AWS can do and Local Bedrock cannot (HTTP 501, which no SDK retries)."""
    return ServiceError("NotImplementedException", f"Local Bedrock does not have {what}.", status=501)
