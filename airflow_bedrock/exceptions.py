"""What a task of this package raises; the type says whether a retry can help.

::

    AirflowException
    └── BedrockError            the task failed; a retry may help
        └── BedrockFatalError   a retry cannot help; also an AirflowFailException, so Airflow does not try again
"""

from __future__ import annotations

from airflow_bedrock.compat import AirflowException, AirflowFailException


class BedrockError(AirflowException):
    """Something failed that another try may fix: throttling, a lost connection, a fault of the service."""


class BedrockFatalError(BedrockError, AirflowFailException):
    """Something failed that no retry can fix: bad input, bad data, missing permission, a job that ended badly."""


def kind_of(error: BaseException) -> type[BedrockError]:
    """Return what to raise for an error of an AWS call: by whether another try may fix it."""
    from airflow_bedrock.aws_errors import is_transient  # here, since it loads botocore

    return BedrockError if is_transient(error) else BedrockFatalError
