"""Runs triggers in Airflow's own trigger runner, without a database, and reports when their events came.

Standard input: a line of JSON, ``{"classpath": …, "arguments": [{…}, …]}``. Printed: ``ready`` when everything is
imported; then, when all triggers have sent their event, a line of JSON: the time of each event and the longest time
for which the event loop was blocked. What the process used is read from outside, by its id.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from airflow._shared.module_loading import import_string
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.executors.workloads.trigger import RunTrigger
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.models.trigger import Trigger
from airflow.sdk.log import configure_logging, reset_logging

HEARTBEAT = 0.005  # seconds


class Runner(TriggerRunner):
    """The trigger runner with its supervisor left out: triggers come from a list, events go into one."""

    def __init__(self, workloads: list[RunTrigger]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        self.to_create.extend(workloads)
        self.awaited = len(workloads)
        self.events_at: list[float] = []
        self.longest_block = 0.0

    async def init_comms(self) -> None:
        reader = asyncio.create_task(asyncio.Event().wait())
        self.comms_decoder = SimpleNamespace(_reader_task=reader)  # type: ignore[assignment]  # all that arun needs
        self.heart = asyncio.create_task(self._beat())

    async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
        if self.failed_triggers:
            raise RuntimeError(f"Triggers failed: {list(self.failed_triggers)[:3]}")
        self.events.clear()
        if self.awaited == 0:
            self.stop = True

    async def _beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(HEARTBEAT)
            self.longest_block = max(self.longest_block, time.monotonic() - before - HEARTBEAT)

    def sent(self) -> None:
        self.events_at.append(time.time())
        self.awaited -= 1


class Events(list[Any]):
    """The runner's queue of events, which notes at once that one has come."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.runner = runner

    def append(self, event: Any) -> None:
        super().append(event)
        self.runner.sent()


def workload(number: int, classpath: str, arguments: dict[str, Any]) -> RunTrigger:
    ti = TaskInstanceDTO(
        id=uuid4(),
        dag_version_id=uuid4(),
        task_id=f"wait_{number}",
        dag_id="benchmark",
        run_id="manual__2026-01-01",
        try_number=1,
        map_index=-1,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )
    return RunTrigger(id=number, classpath=classpath, encrypted_kwargs=Trigger.encrypt_kwargs(arguments), ti=ti)


def main() -> None:
    reset_logging()
    # Lines are made as in a triggerer, which sends them to its supervisor.
    null = Path("/dev/null").open("wb", buffering=0)  # noqa: SIM115  # until the process ends
    configure_logging(json_output=True, sending_to_supervisor=True, output=null)
    asked = json.loads(sys.stdin.readline())
    import_string(asked["classpath"])
    workloads = [workload(i, asked["classpath"], arguments) for i, arguments in enumerate(asked["arguments"], 1)]
    del asked
    runner = Runner(workloads)
    del workloads
    runner.events = Events(runner)  # type: ignore[assignment]  # of a deque, only append and clear are used
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(runner.arun())  # type: ignore[no-untyped-call]  # as above
    print(json.dumps({"events_at": runner.events_at, "longest_block": runner.longest_block}), flush=True)


if __name__ == "__main__":
    main()
