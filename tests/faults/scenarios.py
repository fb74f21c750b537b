"""The faults, and an Airflow reduced to what matters here: three tries, Clear, and a person who ends a task."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from airflow_bedrock.local import LocalBedrock
from tests.faults import worker
from tests.faults.gate import CREATE, GET, Answer, Exchange, Gate, failed_after_accept, lost, throttled

TRIES = 3
PACKAGES = ("ours", "upstream")
_SECONDS = 300.0  # after which a worker that should have come to some point has not

# Workers are forked from a server that has imported Airflow once; each is a process of its own, and is really killed.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "airflow_bedrock.operators.customization",
        "airflow_bedrock.triggers.customization",
        "airflow.providers.amazon.aws.operators.bedrock",
    ]
)


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario, counted on the service's side.

    :param paid: jobs that the service accepted.
    :param running: jobs that still run, and are billed, after the task has ended.
    :param end: the task's last state.
    """

    paid: int
    running: int
    end: str


class Task:
    """One task instance of one package, with a service and a gate of its own."""

    def __init__(self, package: str, local: LocalBedrock, gate: Gate, home: Path) -> None:
        self.package, self.local, self.gate = package, local, gate
        self.prefix = f"fault-{uuid.uuid4().hex[:8]}"
        self.arguments: dict[str, Any] = {
            "job_name": self.prefix,
            "custom_model_name": self.prefix,
            "role_arn": local.role_arn,
            "base_model_id": "amazon.nova-micro-v1:0:128k",
            "training_data_uri": self._put(_records()),
            "output_data_uri": f"s3://{local.bucket}/{self.prefix}/output",
            "hyperparameters": {"epochCount": "1"},
            "waiter_delay": 1,
            "waiter_max_attempts": 75,
        }
        environment = {name: value.replace(local.endpoint_url, gate.url) for name, value in local.environment().items()}
        self._try = worker.Try(package, self.arguments, environment, home, number=0)
        self.end = "running"
        self._tries = 0
        self.state("running")

    def state(self, state: str) -> None:
        """Set the task instance's state, which a worker can ask for."""
        self._try.state.write_text(state)

    def start(self, **changes: Any) -> BaseProcess:
        """Start the next try."""
        self._tries += 1
        self._try = replace(self._try, number=self._try.number + 1)
        return self._start(**changes)

    def clear(self) -> None:
        """Clear the task, as a person does in the UI: the tries begin anew."""
        self._try = replace(self._try, clear_number=self._try.clear_number + 1)
        self._tries = 0

    def finish(self, process: BaseProcess | None = None, **changes: Any) -> None:
        """Let the tries that are left take their course."""
        while True:
            code = _exit_code(process or self.start(**changes))
            if code == worker.DEFERRED:
                code = _exit_code(self._start(resume=True, **changes))
            if code == worker.SUCCESS:
                self.end = "success"
                return
            if code == worker.FATAL or self._tries >= TRIES:
                self.end = "failed"
                return
            process = None

    def resume(self) -> BaseProcess:
        """Take up the trigger's event in a new worker."""
        return self._start(resume=True)

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that the service has accepted."""
        client = self.local.client("bedrock")
        try:
            return [*client.list_model_customization_jobs(nameContains=self.prefix)["modelCustomizationJobSummaries"]]
        finally:
            client.close()

    def wait_for_job(self) -> None:
        """Wait until the service has accepted a job."""
        _until(self.jobs)

    def use_broken_data(self) -> None:
        """Give the job data that it will fail on."""
        self._try.arguments["training_data_uri"] = self._put(_records() + "{broken\n")

    def change_request(self) -> None:
        """Let the next try's request come out differently, as a template with the time in it does."""
        self._try.arguments["hyperparameters"] = {"epochCount": "2"}

    def replace_data(self) -> None:
        """Put other records at the same place."""
        self._put(_records(30), self._try.arguments["training_data_uri"])

    def outcome(self) -> Outcome:
        """Count."""
        jobs = self.jobs()
        return Outcome(len(jobs), sum(job["status"] == "InProgress" for job in jobs), self.end)

    def _start(self, **changes: Any) -> BaseProcess:
        process = _PROCESSES.Process(target=worker.run, args=(replace(self._try, **changes),))
        process.start()
        return process

    def _put(self, text: str, uri: str | None = None) -> str:
        client = self.local.client("s3")
        uri = uri or f"s3://{self.local.bucket}/{self.prefix}/{uuid.uuid4().hex}.jsonl"
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        client.put_object(Bucket=bucket, Key=key, Body=text.encode())
        client.close()
        return uri


def _records(count: int = 20) -> str:
    def turn(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"text": text}]}

    records = (
        {
            "schemaVersion": "bedrock-conversation-2024",
            "messages": [turn("user", f"item {n}"), turn("assistant", "yes")],
        }
        for n in range(count)
    )
    return "".join(json.dumps(record) + "\n" for record in records)


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true")
        time.sleep(0.05)


def _exit_code(process: BaseProcess) -> int | None:
    process.join(_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError("a worker did not end")
    return process.exitcode


def _kill(task: Task, process: BaseProcess) -> None:
    if not task.gate.reached.wait(_SECONDS):
        raise TimeoutError("a worker did not come to where it was to be killed")
    process.kill()
    process.join()


def nothing(task: Task) -> None:
    """Nothing happens."""
    task.finish()


def throttled_for_a_whole_try(task: Task) -> None:
    """The first try is throttled, retries of its client included."""
    with task.gate.rule(CREATE, throttled):
        _exit_code(task.start())
    task.finish()


def killed_before_the_call(task: Task) -> None:
    """The worker is killed before the request has reached the service."""
    with task.gate.rule(CREATE, task.gate.hold_before):
        _kill(task, task.start())
    task.finish()


def killed_after_accept(task: Task) -> None:
    """The worker is killed after the service has accepted the job, before it hears of it."""
    with task.gate.rule(CREATE, task.gate.hold_after):
        _kill(task, task.start())
    task.finish()


def response_lost(task: Task) -> None:
    """The service accepts the job; every answer of the first try is lost."""
    with task.gate.rule(CREATE, lost):
        _exit_code(task.start())
    task.finish()


def fault_after_accept(task: Task) -> None:
    """The service accepts the job, and answers HTTP 500 for the whole first try."""
    with task.gate.rule(CREATE, failed_after_accept):
        _exit_code(task.start())
    task.finish()


def killed_while_waiting(task: Task) -> None:
    """The worker is killed while it waits for the job."""
    process = task.start()
    task.wait_for_job()
    with task.gate.rule(GET, task.gate.hold_before):
        _kill(task, process)
    task.finish()


def killed_while_resuming(task: Task) -> None:
    """The task waited in the triggerer; the worker that takes it up again is killed."""
    if _exit_code(task.start()) != worker.DEFERRED:
        raise RuntimeError("the task was not deferred")
    with task.gate.rule(GET, task.gate.hold_before):
        _kill(task, task.resume())
    task.finish()


def two_workers_at_once(task: Task) -> None:
    """Airflow runs the same try in two workers, which send their requests at the same moment."""
    both, calls = threading.Barrier(2, timeout=_SECONDS), itertools.count()

    def together(exchange: Exchange) -> Answer | None:
        if next(calls) < 2:
            both.wait()
        return exchange.forward()

    with task.gate.rule(CREATE, together):
        first, second = task.start(), task.start()
        codes = _exit_code(first), _exit_code(second)
    task.end = "success" if codes == (worker.SUCCESS, worker.SUCCESS) else "failed"


def cleared_with_nothing_changed(task: Task) -> None:
    """The task is cleared after it has succeeded; request and data are the same."""
    task.finish()
    task.clear()
    task.finish()


def request_changed_between_tries(task: Task) -> None:
    """The worker is killed after the service has accepted the job; the next try's request comes out differently."""
    with task.gate.rule(CREATE, task.gate.hold_after):
        _kill(task, task.start())
    task.change_request()
    task.finish()


def data_replaced_between_tries(task: Task) -> None:
    """The worker is killed while it waits; the data is replaced before the next try."""
    process = task.start()
    task.wait_for_job()
    with task.gate.rule(GET, task.gate.hold_before):
        _kill(task, process)
    task.replace_data()
    task.finish()


def answer_lost_and_request_changed(task: Task) -> None:
    """Every answer of the first try is lost, and the next try's request comes out differently."""
    with task.gate.rule(CREATE, lost):
        _exit_code(task.start())
    task.change_request()
    task.finish()


def cleared_with_other_data_while_the_job_runs(task: Task) -> None:
    """The worker is killed, the data is replaced, and a person clears the task while the job runs."""
    process = task.start()
    task.wait_for_job()
    with task.gate.rule(GET, task.gate.hold_before):
        _kill(task, process)
    task.replace_data()
    task.clear()
    task.finish()


def bad_data(task: Task) -> None:
    """A line of the training data is broken; the task has three tries."""
    task.use_broken_data()
    task.finish()


def marked_failed_while_waiting(task: Task) -> None:
    """A person marks the task failed while the job runs."""
    process = task.start()
    task.wait_for_job()
    with task.gate.rule(GET, _seen(task)):
        task.gate.reached.wait(_SECONDS)
    task.state("failed")
    process.terminate()
    time.sleep(3)
    process.kill()
    process.join()
    task.end = "failed"


def evicted_while_waiting(task: Task) -> None:
    """The worker is told to end, and the task goes on in another one."""
    process = task.start()
    task.wait_for_job()
    with task.gate.rule(GET, _seen(task)):
        task.gate.reached.wait(_SECONDS)
    process.terminate()
    time.sleep(1)
    process.kill()
    process.join()
    task.finish()


def execution_timeout(task: Task) -> None:
    """The job takes longer than the task's execution_timeout; the task has three tries."""
    task.finish(timeout=4.0)


def _seen(task: Task) -> Callable[[Exchange], Answer]:
    def rule(exchange: Exchange) -> Answer:
        task.gate.reached.set()
        return exchange.forward()

    return rule


@dataclass(frozen=True)
class Scenario:
    """A fault, and how long the job takes under it.

    :param job_seconds: how long the job takes; long where it must not end by itself.
    """

    play: Callable[[Task], None]
    job_seconds: float = 1.0
    deferrable: bool = False

    @property
    def name(self) -> str:
        """What happens, in a sentence."""
        return (self.play.__doc__ or "").strip()


SCENARIOS = (
    Scenario(nothing),
    Scenario(throttled_for_a_whole_try),
    Scenario(killed_before_the_call),
    Scenario(killed_after_accept),
    Scenario(response_lost),
    Scenario(fault_after_accept),
    Scenario(killed_while_waiting, job_seconds=4.0),
    Scenario(killed_while_resuming, deferrable=True),
    Scenario(evicted_while_waiting, job_seconds=6.0),
    Scenario(two_workers_at_once),
    Scenario(cleared_with_nothing_changed),
    Scenario(request_changed_between_tries),
    Scenario(data_replaced_between_tries, job_seconds=4.0),
    Scenario(answer_lost_and_request_changed),
    Scenario(cleared_with_other_data_while_the_job_runs, job_seconds=8.0),
    Scenario(bad_data),
    Scenario(marked_failed_while_waiting, job_seconds=120.0),
    Scenario(execution_timeout, job_seconds=120.0),
)


def play(scenario: Scenario, package: str) -> Outcome:
    """Play a scenario with an operator of the package, and count."""
    with _service(scenario.job_seconds) as (local, gate, home):
        task = Task(package, local, gate, home)
        if scenario.deferrable:
            task.arguments["deferrable"] = True
        scenario.play(task)
        return task.outcome()


@contextmanager
def _service(job_seconds: float) -> Iterator[tuple[LocalBedrock, Gate, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="airflow-bedrock-faults-") as home,
        LocalBedrock(job_seconds=job_seconds) as local,
        Gate(local.endpoint_url) as gate,
    ):
        yield local, gate, Path(home)
