"""What to do about an error of the service or a failed job: retry, make a new job, or give up. Pure.

Errors:
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelCustomizationJob.html#API_CreateModelCustomizationJob_Errors
"""

from __future__ import annotations

import re
from enum import Enum

from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import error_code, is_about_credentials, is_transient


class Remedy(Enum):
    """What fixes an error or a failed job."""

    RETRY = "retry"
    """A transient error: retry the same call later."""
    WAIT_FOR_ROLE = "wait for the role"
    """A role that was created seconds ago has not taken effect everywhere: retry for about two minutes."""
    WAIT_FOR_SLOT = "wait for a slot"
    """The quota of jobs has been reached: retry when one has ended."""
    NAME_IN_USE = "name in use"
    """The job's name is in use: Get shows by which job."""
    MODEL_NAME_IN_USE = "model name in use"
    """The custom model's name is in use by a model, or by a job that will make one: choose another name."""
    CREDENTIALS = "credentials"
    """The credentials were refused, and no request was made: retry with the connection's credentials at that time."""
    NONE = "none"
    """No retry helps until a person fixes the cause. Unknown errors fail closed: they belong here."""


# aws_errors recognizes ThrottlingException and InternalServerException.
_REMEDIES = {
    "ServiceQuotaExceededException": Remedy.WAIT_FOR_SLOT,
    "ConflictException": Remedy.NAME_IN_USE,
    "ResourceInUseException": Remedy.NAME_IN_USE,
}

# The message of a ValidationException, which is otherwise final: "The provided job name is currently in use." If AWS
# changed the wording, the task would fail without a retry, and nothing would be paid for.
_NAME_IN_USE = "currently in use"
_OF_THE_MODEL = "model name"

# The message for a role that has not taken effect yet, and for one that does not trust Bedrock. Terraform retries for
# two minutes on this text: https://github.com/hashicorp/terraform-provider-aws (service/bedrock).
_ROLE_NOT_KNOWN = "Could not assume provided IAM role"

# Parts of failure messages whose cause is neither the data, nor the permissions, nor the request.
_FIXABLE_FAILURES = (
    "internal error",
    "internal server error",
    "service unavailable",
    # A new role: it may take some minutes to take effect in all of AWS.
    "cannot be assumed",
)
# Only as a whole sentence: "try again with …" or "… after …" is not transient.
_TRY_AGAIN = re.compile(r"(^|[.!;:])\s*(please try again( later)?|try again later)\s*([.!]|$)")


def remedy_for_error(error: BaseException) -> Remedy:
    """Return what fixes an error of CreateModelCustomizationJob."""
    if is_about_credentials(error):
        return Remedy.CREDENTIALS
    if is_transient(error):
        return Remedy.RETRY
    if not isinstance(error, ClientError):
        return Remedy.NONE
    if _NAME_IN_USE in str(error):
        return Remedy.MODEL_NAME_IN_USE if _OF_THE_MODEL in str(error) else Remedy.NAME_IN_USE
    if _ROLE_NOT_KNOWN in str(error):
        return Remedy.WAIT_FOR_ROLE
    return _REMEDIES.get(error_code(error), Remedy.NONE)


def remedy_for_failure(failure_message: str | None) -> Remedy:
    """Return what fixes a failed job, by its failureMessage."""
    message = (failure_message or "").lower()
    fixable = any(words in message for words in _FIXABLE_FAILURES) or _TRY_AGAIN.search(message)
    return Remedy.RETRY if fixable else Remedy.NONE
