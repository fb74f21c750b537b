"""A scenario, its outcome, and how it is played."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from airflow_bedrock.local import LocalBedrock
from scripts.live.cluster import Cluster
from scripts.live.stage import JOB_SECONDS, Stage, WrongError
from scripts.until import LateError, until

AS_IT_SHOULD = "as it should be"
_SETTLE_SECONDS = 120.0  # in which what is being stopped is stopped


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is done with a running Airflow, and what it may cost.

    :param play: does it, and returns a remark on it, if any.
    :param asked_for: jobs that are asked for, and paid for.
    :param at_most: fewer of them are as good, since chance decides how many.
    :param dags: those it runs.
    :param settings: of its account, on Local Bedrock.
    """

    play: Callable[[Stage], str | None]
    asked_for: int
    dags: tuple[str, ...]
    at_most: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.play.__name__

    @property
    def told(self) -> str:
        """What is done, in a sentence or two."""
        return " ".join((self.play.__doc__ or "").split())


@dataclass(frozen=True)
class Outcome:
    """The outcome of a scenario, counted in the account.

    :param accepted: jobs that the account accepted, which are billed.
    :param left: jobs that still run when everything that can end has ended.
    :param verdict: :data:`AS_IT_SHOULD`, perhaps with a remark, or what is wrong.
    :param seconds: how long it took.
    """

    accepted: int
    left: int
    verdict: str
    seconds: float


def scenario(
    asked_for: int, *, at_most: bool = False, dags: tuple[str, ...] = (), **settings: Any
) -> Callable[[Callable[[Stage], str | None]], Scenario]:
    """Make a scenario of the function that plays it; without ``dags``, it runs the one of its own name."""

    def made(play: Callable[[Stage], str | None]) -> Scenario:
        return Scenario(
            play=play, asked_for=asked_for, at_most=at_most, dags=dags or (play.__name__,), settings=settings
        )

    return made


def play(scenario: Scenario, cluster: Cluster) -> Outcome:
    """Play a scenario in its own account, and count there."""
    began = time.monotonic()
    settings = {"clock": "manual", "job_seconds": JOB_SECONDS, **scenario.settings}
    with LocalBedrock(bucket=scenario.name.replace("_", "-"), **settings) as local:
        stage = Stage(cluster, local, scenario.name)
        try:
            remark = scenario.play(stage)
            verdict = f"{AS_IT_SHOULD}; {remark}" if remark else AS_IT_SHOULD
        except (WrongError, LateError, httpx.HTTPError) as error:
            verdict = f"WRONG: {error}"
        with contextlib.suppress(LateError):
            until(lambda: not stage.in_progress(), "no job runs", _SETTLE_SECONDS)
        accepted, left = len(stage.jobs()), len(stage.in_progress())
        _end_runs(scenario, stage)
    paid_right = accepted <= scenario.asked_for if scenario.at_most else accepted == scenario.asked_for
    if verdict.startswith(AS_IT_SHOULD) and (left or not paid_right):
        verdict = f"WRONG{verdict.removeprefix(AS_IT_SHOULD)}"
    return Outcome(accepted, left, verdict, time.monotonic() - began)


def _end_runs(scenario: Scenario, stage: Stage) -> None:
    """End what a failed scenario has left, so that it does not disturb the next one."""
    for run in [run for dag in scenario.dags for run in stage.runs(dag)]:
        if not run.has_ended():
            run.mark_failed()
