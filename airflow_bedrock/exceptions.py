"""What a task of this package raises; the type says whether a retry can help.

::

    AirflowException
    └── BedrockError            the task failed; a retry may help
        └── BedrockFatalError   a retry cannot help; also an AirflowFailException, so Airflow does not retry
            └── ArgumentError   invalid arguments; also a ValueError
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_bedrock.compat import AirflowException, AirflowFailException


class BedrockError(AirflowException):
    """Something failed that a retry may fix: throttling, a lost connection, a fault of the service."""


class BedrockFatalError(BedrockError, AirflowFailException):
    """Something failed that no retry can fix: bad input, bad data, missing permission, a job that ended badly."""


class ArgumentError(BedrockFatalError, ValueError):
    """Invalid arguments of an operator or sensor, which did nothing: a broken DAG file, or a task that is not retried.

    It is both a ValueError and fatal, since a mapped task gets its arguments only when it runs.
    """


def kind_of(error: BaseException) -> type[BedrockError]:
    """Return the error class for an error of an AWS call, by whether a retry may fix it."""
    from airflow_bedrock.aws_errors import is_transient  # here, since it loads botocore

    return BedrockError if is_transient(error) else BedrockFatalError


@contextmanager
def explained(doing: str, remedy: str = "") -> Iterator[None]:
    """Convert the error of an AWS call to one of this package.

    :param doing: what could not be done.
    :param remedy: what to do, unless a retry helps or the error is about credentials or the connection.
    """
    from airflow_bedrock.aws_errors import CALL_ERRORS, error_code, with_remedy

    try:
        yield
    except CALL_ERRORS as error:
        kind = BedrockError if error_code(error) == "ConflictException" else kind_of(error)
        otherwise = remedy if kind is BedrockFatalError else ""
        raise kind(f"Could not {doing}: {with_remedy(error, otherwise)}") from error


@contextmanager
def nothing_spent(what: str, noun: str = "job", *, earlier: bool = False, allow: str = "") -> Iterator[None]:
    """Return the message for an AWS error that came before any request: nothing was made.

    :param what: the failed step, as the beginning of a sentence.
    :param noun: the noun for the resource, such as ``job``.
    :param earlier: whether an earlier try may have made one.
    :param allow: the permission that the step needs, for the remedy if it is denied.
    """
    from airflow_bedrock.aws_errors import CALL_ERRORS, is_about_credentials, is_denied, with_remedy

    try:
        yield
    except CALL_ERRORS as error:
        denied = is_denied(error) and not is_about_credentials(error)
        kind = BedrockFatalError if denied else BedrockError
        remedy = f" Allow {allow}." if denied and allow else ""
        earlier_one = f" A {noun} that an earlier try has made may still run and be billed." if earlier else ""
        raise kind(
            f"{what} failed. This try made no {noun} and spent nothing.{earlier_one}{remedy} AWS said: "
            f"{with_remedy(error)}"
        ) from error
