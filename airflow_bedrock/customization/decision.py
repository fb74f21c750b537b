"""Decide what to do when a job with the derived name already exists. Pure: the engine makes the calls."""

from __future__ import annotations

from enum import Enum

from airflow_bedrock.customization.identity import Asker, Identity, Token
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.remedy import Remedy, remedy_for_failure


class Decision(Enum):
    """What the engine does next."""

    ADOPT = "adopt"
    """The job that was asked for runs already: wait for it, pay nothing."""
    REUSE = "reuse"
    """The job that was asked for has completed: take its model, pay nothing."""
    SUPERSEDE = "supersede"
    """An earlier ask's job runs, and another thing is asked for now: settle what becomes of it, then go on."""
    NEXT_GENERATION = "next generation"
    """The name is used up by a job that does not count for this ask: try the next name."""
    FAIL = "fail"
    """An earlier try's job ended without a model, and no retry can fix that: pay for no other."""
    CLASH = "clash"
    """The name belongs to another task's job."""
    UNKNOWN = "unknown"
    """The job's status is not known: neither reuse it nor pay for another."""


def decide(found: Seen, identity: Identity, *, listed: bool = False, adopted: bool = False) -> Decision:
    """Decide by a job that was found.

    :param found: the response of Get.
    :param identity: what was derived.
    :param listed: found by List among the jobs that count, not by the derived name.
    :param adopted: its tags say that an earlier try of this ask has adopted it from another ask, run or map index.
    """
    token = Token.read(found.token)
    if not (adopted or _may_be_taken(token, identity, listed=listed)):
        return Decision.CLASH
    # One that was adopted, and then stopped, is asked for anew.
    stopped = found.outcome is Outcome.STOPPED or found.status == "Stopping"
    same_ask = identity.is_of_ask(token) or (adopted and not stopped)
    answers = same_ask or (identity.is_of_what(token) and identity.reuse != "never")
    match found.outcome:
        case Outcome.UNKNOWN:
            return Decision.UNKNOWN
        # One that is Stopping still runs, but only to its end: it counts only for the try that waits for just that end.
        case Outcome.RUNNING if same_ask or found.status != "Stopping":
            return Decision.ADOPT if answers else Decision.SUPERSEDE
        case Outcome.SUCCEEDED:
            return Decision.REUSE if answers else Decision.NEXT_GENERATION
    fixable = found.outcome is Outcome.FAILED and remedy_for_failure(found.failure_message) is Remedy.RETRY
    return Decision.FAIL if same_ask and not fixable else Decision.NEXT_GENERATION


def is_stopped_under(ended: Seen, asker: Asker) -> bool:
    """Whether a job that was stopped is of another ask, which this one had adopted: it is asked for anew."""
    token = Token.read(ended.token)
    return ended.outcome is Outcome.STOPPED and token is not None and token.ask != asker.ask_digest


def _may_be_taken(token: Token | None, identity: Identity, *, listed: bool) -> bool:
    """Whether the job is this asker's, or one that another asker of the same task may take as well."""
    if not identity.is_of_task(token):
        return False
    return identity.is_of_who(token) or (identity.is_of_what(token) and (listed or identity.reuse == "dag"))


def decide_by_model(found: Seen, *, same: bool) -> Decision:
    """Decide by a resource that serves a model for as long as it exists, no matter who made it.

    :param same: whether it serves the model that is asked for.
    """
    if not same:
        return Decision.CLASH
    return {
        Outcome.RUNNING: Decision.ADOPT,
        Outcome.SUCCEEDED: Decision.REUSE,
        Outcome.UNKNOWN: Decision.UNKNOWN,
    }.get(found.outcome, Decision.FAIL)
