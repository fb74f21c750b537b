"""Decide what to do when a job with the derived name already exists. Pure: the engine makes the calls."""

from __future__ import annotations

from enum import Enum

from airflow_bedrock.customization.identity import Identity, TaskKey, Token
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.remedy import Remedy, remedy_for_failure


class Decision(Enum):
    """What the engine does next."""

    ADOPT = "adopt"
    """The requested job is already running: wait for it, pay nothing."""
    REUSE = "reuse"
    """The requested job has completed: reuse its model, pay nothing."""
    SUPERSEDE = "supersede"
    """A job of an earlier ask is running, and the request has changed: apply ``superseded``, then continue."""
    NEXT_GENERATION = "next generation"
    """A job that does not count for this ask has used the name: try the next name."""
    FAIL = "fail"
    """The job of an earlier try ended without a model, and no retry can fix that: do not pay for another."""
    CLASH = "clash"
    """The name belongs to the job of another task, or of a run with the same id."""
    UNKNOWN = "unknown"
    """The job's status is unknown: neither reuse it nor pay for another."""


def decide(found: Seen, identity: Identity, *, listed: bool = False, adopted: bool = False) -> Decision:
    """Decide what to do about a job that was found.

    :param found: the response of Get.
    :param identity: the identity of the requested job.
    :param listed: whether List found it among the jobs that count, not Get by the derived name.
    :param adopted: whether its tags say that an earlier try of this ask adopted it from another ask, run or map index.
    """
    token = Token.read(found.token)
    if is_foreign(token, identity) or not (adopted or _may_be_taken(token, identity, listed=listed)):
        return Decision.CLASH
    # A job that was adopted and then stopped is requested again.
    stopped = found.outcome is Outcome.STOPPED or found.status == "Stopping"
    same_ask = identity.is_of_ask(token) or (adopted and not stopped)
    answers = same_ask or (identity.is_of_what(token) and identity.reuse != "never")
    match found.outcome:
        case Outcome.UNKNOWN:
            return Decision.UNKNOWN
        # A job that is Stopping makes no model: it counts only for a try of the same ask, which waits for its end.
        case Outcome.RUNNING if same_ask or found.status != "Stopping":
            return Decision.ADOPT if answers else Decision.SUPERSEDE
        case Outcome.SUCCEEDED:
            return Decision.REUSE if answers else Decision.NEXT_GENERATION
    fixable = found.outcome is Outcome.FAILED and remedy_for_failure(found.failure_message) is Remedy.RETRY
    return Decision.FAIL if same_ask and not fixable else Decision.NEXT_GENERATION


def is_foreign(token: Token | None, identity: Identity) -> bool:
    """Whether a job with another request has the token of this ask, although this is its first try.

    The DAG run was deleted and made again with the same id, or another Airflow has the same environment.
    """
    return identity.is_of_ask(token) and identity.task_key.try_number == 1 and not identity.is_of_what(token)


def is_stopped_under(ended: Seen, task_key: TaskKey) -> bool:
    """Whether a stopped job was adopted from another ask: then this ask requests its own."""
    token = Token.read(ended.token)
    return ended.outcome is Outcome.STOPPED and token is not None and token.ask != task_key.ask_digest


def _may_be_taken(token: Token | None, identity: Identity, *, listed: bool) -> bool:
    """Whether the job is this task instance's, or one that another instance of the task may adopt too."""
    if not identity.is_of_task(token):
        return False
    return identity.is_of_who(token) or (identity.is_of_what(token) and (listed or identity.reuse == "dag"))


def decide_by_model(found: Seen, *, same: bool) -> Decision:
    """Decide what to do about a resource that serves a model for as long as it exists, regardless of its maker.

    :param same: whether it serves the requested model.
    """
    if not same:
        return Decision.CLASH
    return {
        Outcome.RUNNING: Decision.ADOPT,
        Outcome.SUCCEEDED: Decision.REUSE,
        Outcome.UNKNOWN: Decision.UNKNOWN,
    }.get(found.outcome, Decision.FAIL)
