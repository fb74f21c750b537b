"""The frame around the work on a resource: errors become the failure message of the resource."""

from __future__ import annotations

import logging
from collections.abc import Callable

from airflow_bedrock.local.faults import Phase
from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.records import DataError

log = logging.getLogger(__name__)

INTERNAL_ERROR = "Internal server error. Local Bedrock's log has the details."


def framed(name: str, work: Work, fail: Callable[[str], None]) -> Work:
    """Run work to its end.

    :param fail: sets the failed status of the resource, with a message.
    """
    try:
        yield from work
    except DataError as error:
        fail(str(error))
    except Exception:
        log.exception("Local Bedrock: %s failed because of an internal error", name)
        fail(INTERNAL_ERROR)


def check_fault(bedrock: Bedrock, name: str, phase: Phase) -> None:
    """Check that no fault fails this phase of the work on a resource.

    :raises DataError: a fault fails it; the message is the fault's.
    """
    if message := bedrock.world.faults.job_failure(name, phase):
        raise DataError(message)
