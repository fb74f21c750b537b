"""What to do about the job that may already bear the name that was derived. Pure: the operator asks and acts."""

from __future__ import annotations

from enum import Enum

from airflow_bedrock.customization.identity import Identity
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.customization.remedy import Remedy, remedy_for_failure


class Decision(Enum):
    """What the operator does next."""

    CREATE = "create"
    """No job has the name: create it."""
    ADOPT = "adopt"
    """The job that was asked for runs already: wait for it, pay nothing."""
    REUSE = "reuse"
    """The job that was asked for has completed: take its model, pay nothing."""
    NEXT_GENERATION = "next generation"
    """The name is used up by a job that left no model, and another one was asked for: try the next name."""
    FAIL = "fail"
    """An earlier try's job ended without a model, and no retry can mend that: pay for no other."""
    CLASH = "clash"
    """The name belongs to somebody else's job."""
    UNKNOWN = "unknown"
    """The job's status is not known: neither reuse it nor pay for another."""


def decide(found: Job | None, identity: Identity) -> Decision:
    """Decide by the job found under the derived name.

    :param found: the answer of GetModelCustomizationJob for the name; None where there is no such job.
    :param identity: what was derived; a job whose token is not of it is not ours.
    """
    if found is None:
        return Decision.CREATE
    if not identity.made(found.token):
        return Decision.CLASH
    match found.outcome:
        case Outcome.RUNNING if found.status != "Stopping":  # which still runs, but only to its end
            return Decision.ADOPT
        case Outcome.SUCCEEDED:
            return Decision.REUSE
        case Outcome.UNKNOWN:
            return Decision.UNKNOWN
    mendable = found.outcome is Outcome.FAILED and remedy_for_failure(found.failure_message) is Remedy.RETRY
    return Decision.FAIL if identity.asked_for(found.token) and not mendable else Decision.NEXT_GENERATION
