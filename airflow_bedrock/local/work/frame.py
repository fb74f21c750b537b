"""The frame around work that ends in a resource: what goes wrong on the way is told by the resource."""

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
    """Do work to its end.

    :param fail: puts the resource into its status of failure, with a message.
    """
    try:
        yield from work
    except DataError as error:
        fail(str(error))
    except Exception:
        log.exception("Local Bedrock: %s failed for a reason of Local Bedrock's own", name)
        fail(INTERNAL_ERROR)


def check_fault(bedrock: Bedrock, name: str, phase: Phase) -> None:
    """Check that no fault stands for a phase of the work on a resource.

    :raises DataError: one does; it has the fault's message.
    """
    if message := bedrock.world.faults.job_failure(name, phase):
        raise DataError(message)
