"""Before each call of a task, one after the other, the world moves on: what the last one said is true no longer.

Whatever was made, or ended, or was deleted by then, or waited for by another: one is made, none is left that nobody
waits for, and what the task says of it is true.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.compat import TaskDeferred
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.shapes import missing_in_botocore
from tests.faults import paid
from tests.faults.paid import (
    COPY,
    DEPLOYMENT,
    IMPORT,
    JOB,
    MODEL,
    THROUGHPUT,
    KilledError,
    Kind,
    Outcome,
    Scenario,
    Task,
    World,
    play,
)

Act = Callable[[Task], None]
_PHASES = {COPY: "copy", MODEL: "creation", IMPORT: "import", JOB: "training"}
_RUNS_ON = re.compile(r"COULD NOT BE STOPPED|NOT stopped| still runs ")
_ENDED = re.compile(r"had already ended|Completed")


def made(task: Task) -> None:
    """It is done, or in service."""
    task.world.pass_time()


def fails(task: Task) -> None:
    """It fails."""
    if task.kind in _PHASES and task.kind.made(task.world, task.name):
        task.world.local.faults.fail_job(_PHASES[task.kind], "It is broken.")  # type: ignore[arg-type]  # a phase
    task.world.pass_time()


def removed(task: Task) -> None:
    """A person stops it, or deletes it as soon as it is in service."""
    with task.world.client() as bedrock:
        for arn in task.kind.made(task.world, task.name):
            if task.kind is JOB:
                with suppress(ClientError):  # it has ended
                    bedrock.stop_model_customization_job(jobIdentifier=arn)
            else:
                task.world.pass_time()
                task.kind.delete(bedrock, arn)


def changed(task: Task) -> None:
    """A person begins to put another model behind it."""
    with task.world.client() as bedrock:
        for arn in task.kind.made(task.world, task.name):
            task.world.pass_time()
            if task.kind is THROUGHPUT:
                bedrock.update_provisioned_model_throughput(provisionedModelId=arn, desiredModelId=task.world.models[1])
            else:
                bedrock.update_custom_model_deployment(
                    customModelDeploymentIdentifier=arn, modelArn=task.world.models[1]
                )


def shared(task: Task) -> None:
    """Another run asks for the same, and waits for it in the triggerer."""
    other = Task(task.kind, task.world, task.patch, {**task.arguments, "deferrable": True})
    other.name = task.name
    with suppress(TaskDeferred):
        other.attempt()
    task.waits_too = True


def ended(task: Task) -> None:
    """A person marks the task failed; its worker is notified, and goes on until it is killed."""
    task.state = task.end = "failed"
    if task.operator is not None:
        task.operator.on_kill()


def lost(*_: object) -> None:
    """The worker is lost."""
    raise KilledError


@pytest.fixture(autouse=True)
def one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one client for each region, not for each try."""
    clients: dict[str | None, Any] = {}
    make = BedrockHook.conn.func  # type: ignore[attr-defined]  # a cached property

    def conn(hook: BedrockHook) -> Any:
        if hook.region_name not in clients:
            clients[hook.region_name] = make(hook)
        return clients[hook.region_name]

    monkeypatch.setattr(BedrockHook, "conn", property(conn))


def of_all_runs(task: Task) -> None:
    """Its worker is killed while it waits for what all runs share."""
    task.arguments["reuse"] = "dag"
    paid.killed_while_waiting(task)


PLAYS = [
    (THROUGHPUT, paid.killed_while_waiting, (removed, changed, shared, ended, lost)),
    (THROUGHPUT, paid.marked_failed, (made, removed, shared)),
    (THROUGHPUT, paid.marked_failed_while_deferred, (made,)),
    (THROUGHPUT, paid.timed_out, (removed,)),
    (JOB, paid.killed_while_waiting, (fails, removed, ended)),
    (JOB, paid.marked_failed, (made, removed)),
    (JOB, paid.marked_failed_while_deferred, (made, removed)),
    (JOB, paid.timed_out, (made,)),
    *((kind, paid.killed_while_waiting, (fails,)) for kind in (COPY, MODEL)),
    (IMPORT, paid.killed_while_waiting, (fails,)),
    (IMPORT, of_all_runs, (shared,)),
    (DEPLOYMENT, paid.killed_while_waiting, (removed, changed, shared, ended)),
]


@pytest.mark.parametrize(
    ("kind", "scenario", "act"),
    [
        pytest.param(kind, scenario, act, id=f"{kind.word}-{scenario.__name__}-{act.__name__}")
        for kind, scenario, acts in PLAYS
        for act in acts
    ],
)
def test_before_each_call(world: World, kind: Kind, scenario: Act, act: Act, caplog: pytest.LogCaptureFixture) -> None:
    """One act before one call, for all of them."""
    if (kind, act) == (DEPLOYMENT, changed) and missing_in_botocore("UpdateCustomModelDeployment"):
        pytest.skip("this botocore does not know UpdateCustomModelDeployment")
    wrong: list[str] = []
    for at in itertools.count(1):
        caplog.clear()
        calls, found = _play(world, scenario, kind, act, at, caplog)
        if len(calls) < at:
            break
        wrong += [f"before {at}, {calls[at - 1]}: {what}" for what in found]
    assert not wrong, "\n".join(wrong)


def _play(
    world: World, scenario: Act, kind: Kind, act: Act, at: int, caplog: pytest.LogCaptureFixture
) -> tuple[list[str], list[str]]:
    """Play a scenario with one act before one call; return the calls, and what is wrong."""
    calls, tasks = list[str](), list[Task]()

    def before_call(task: Task, operation: str) -> None:
        calls.append(operation)
        if len(calls) == at:
            tasks.append(task)
            act(task)

    try:
        with caplog.at_level("INFO"):
            outcome, said = play(Scenario(scenario), kind, world, before_call)
    except BaseException as error:
        return calls, [f"raised {error!r}"]
    if not tasks:
        return calls, []
    loggers = {f"airflow_bedrock.jobs.{module}" for module in ("on_kill", "stopping")}
    told = [record.message for record in caplog.records if record.name in loggers]
    words = (said or told or [""])[-1] if scenario is paid.timed_out else (told or said or [""])[-1]
    return calls, [f"{what}: {outcome}: {words}" for what in _wrong(tasks[0], act, calls, at, outcome, words)]


def _wrong(task: Task, act: Act, calls: list[str], at: int, outcome: Outcome, words: str) -> Iterator[str]:
    if outcome.made > 1 + (act in (removed, fails)):
        yield "paid for twice"
    if outcome.end == "success" and outcome.left > 0:
        yield "left beside what it has succeeded with"
    if outcome.end == "failed" and task.kind.stops:
        # Who takes it up when the deletion is on its way has come too late.
        if task.waits_too and not outcome.left and not (at == len(calls) and calls[-1] == task.kind.deletes):
            yield "taken from the other that waits"
        elif outcome.left and act not in (changed, shared) and not _ENDED.search(words):
            yield "left"
        elif outcome.left and act in (changed, shared) and "billed" not in words:
            yield "left without a word"
        elif not outcome.left and _RUNS_ON.search(words):
            yield "not true"
