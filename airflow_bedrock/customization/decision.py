"""What to do about the job that may already bear the name that was derived. Pure: the operator asks and acts."""

from __future__ import annotations

from enum import Enum

from airflow_bedrock.customization.job import Job, Outcome


class Decision(Enum):
    """What the operator does next."""

    CREATE = "create"
    """No job has the name: create it."""
    ADOPT = "adopt"
    """The job that was asked for runs already: wait for it, pay nothing."""
    REUSE = "reuse"
    """The job that was asked for has completed: take its model, pay nothing."""
    NEXT_GENERATION = "next generation"
    """The name is used up by a job that left no model: try the next name."""
    CLASH = "clash"
    """The name belongs to somebody else's job."""
    UNKNOWN = "unknown"
    """The job's status is not known: neither reuse it nor pay for another."""


def decide(found: Job | None, token: str) -> Decision:
    """Decide by the job found under the derived name.

    :param found: the answer of GetModelCustomizationJob for the name; None where there is no such job.
    :param token: the clientRequestToken derived with the name; a job that bears another is not ours.
    """
    if found is None:
        return Decision.CREATE
    if found.token != token:
        return Decision.CLASH
    if found.status == "Stopping":  # it still runs, but only to its end
        return Decision.NEXT_GENERATION
    return {
        Outcome.RUNNING: Decision.ADOPT,
        Outcome.SUCCEEDED: Decision.REUSE,
        Outcome.FAILED: Decision.NEXT_GENERATION,
        Outcome.STOPPED: Decision.NEXT_GENERATION,
        Outcome.UNKNOWN: Decision.UNKNOWN,
    }[found.outcome]
