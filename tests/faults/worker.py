"""A worker: one try of a task, in a process of its own. Its exit code says how the try ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog

SUCCESS, FAILED, FATAL, DEFERRED = 0, 10, 11, 12
RETRIES = 2


@dataclass(frozen=True)
class Try:
    """What a worker is given.

    :param package: ``ours`` or ``upstream``.
    :param arguments: of the operator.
    :param environment: how to reach the service.
    :param home: a folder for what outlives the worker: the task instance's state, the trigger's event.
    :param ask: the task instance's max_tries, which a Clear sets to the tries so far and the retries.
    :param number: the try number, which a Clear does not set back.
    :param resume: take up the trigger's event instead of executing.
    :param timeout: execution_timeout, in seconds.
    :param run: the DAG run.
    :param index: the map index.
    :param partition: the run's partition key.
    :param sensor: run the package's sensor for the job of this ARN instead of the operator.
    """

    package: str
    arguments: dict[str, Any]
    environment: dict[str, str]
    home: Path
    ask: int = RETRIES
    number: int = 1
    resume: bool = False
    timeout: float | None = None
    run: str = "run"
    index: int = -1
    partition: str | None = None
    sensor: str = ""

    @property
    def state(self) -> Path:
        """Where the task instance's state stands."""
        return self.home / f"state-{self.run}-{self.index}"

    @property
    def event(self) -> Path:
        """Where the trigger's event stands."""
        return self.home / f"event-{self.index}"

    def xcom(self, key: str, index: int) -> Path:
        """Where an XCom of the task stands, of one map index."""
        return self.home / f"xcom-{key}-{self.run}-{index}"


def run(this: Try) -> None:
    """Run the try, and end the process with its exit code."""
    os.environ.update(this.environment)
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    os._exit(_run(this))


def _run(this: Try) -> int:
    from airflow_bedrock.compat import AirflowFailException, TaskDeferred

    operator = _operator(this)
    context = _context(this)
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())  # as Airflow's task runner does
    try:
        if this.resume:
            _resume(this, operator, context)
        else:
            _with_timeout(this, operator, context)
    except TaskDeferred as deferred:
        this.event.write_text(json.dumps(asyncio.run(_first_event(deferred))))
        return DEFERRED
    except AirflowFailException:
        return FATAL
    except BaseException:
        return FAILED
    return SUCCESS


def _with_timeout(this: Try, operator: Any, context: Any) -> None:
    from airflow.sdk.execution_time.timeout import timeout

    from airflow_bedrock.compat import AirflowTaskTimeout

    if this.timeout is None:
        operator.execute(context)
        return
    try:
        with timeout(this.timeout):
            operator.execute(context)
    except AirflowTaskTimeout:
        operator.on_kill()
        raise


async def _first_event(deferred: Any) -> Any:
    """Return the trigger's event; None if the deferral has run out of time."""
    try:
        async with asyncio.timeout(deferred.timeout and deferred.timeout.total_seconds()):
            async for event in deferred.trigger.run():
                return event.payload
    except TimeoutError:
        return None
    raise RuntimeError("the trigger ended without an event")


def _resume(this: Try, operator: Any, context: Any) -> None:
    from airflow.sdk.bases.operator import TriggerFailureReason

    event = json.loads(this.event.read_text())
    if event is None:
        operator.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, context)
    operator.execute_complete(context, event=event)


def _operator(this: Try) -> Any:
    from airflow.providers.amazon.aws.operators.bedrock import BedrockCustomizeModelOperator

    from airflow_bedrock.operators.customization import BedrockModelCustomizationOperator

    operators: dict[str, Any] = {"ours": BedrockModelCustomizationOperator, "upstream": BedrockCustomizeModelOperator}
    if not this.sensor:
        return operators[this.package](task_id="customize", **this.arguments)
    from airflow.providers.amazon.aws.sensors.bedrock import BedrockCustomizeModelCompletedSensor

    from airflow_bedrock.sensors import BedrockModelCustomizationSensor

    sensors: dict[str, Any] = {
        "ours": BedrockModelCustomizationSensor,
        "upstream": BedrockCustomizeModelCompletedSensor,
    }
    return sensors[this.package](task_id="wait", job_name=this.sensor, poke_interval=1, deferrable=False)


def _pulled(this: Try, key: str, map_indexes: int | None = None, default: Any = None, **_: object) -> Any:
    """Return an XCom as Airflow does: of a mapped task, without a map index, everybody's."""
    if map_indexes is None and this.index >= 0:
        return [json.loads(path.read_text()) for path in this.home.glob(f"xcom-{key}-{this.run}-*")]
    path = this.xcom(key, -1 if map_indexes is None else map_indexes)
    return json.loads(path.read_text()) if path.exists() else default


def _context(this: Try) -> Any:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from airflow_bedrock.jobs import submission

    # As long as the clock stands still, what is hidden stays hidden.
    vars(submission)["SECONDS_UNTIL_MISSING"] = 2.0

    def states(*, run_ids: list[str], task_ids: list[str], map_index: int, **_: object) -> dict[str, dict[str, str]]:
        state = replace(this, run=run_ids[0], index=map_index).state
        return {run_ids[0]: {task_ids[0]: state.read_text() if state.exists() else "running"}}

    RuntimeTaskInstance.get_task_states = staticmethod(states)  # type: ignore[method-assign,assignment]  # no supervisor here
    RuntimeTaskInstance.get_dagrun_state = staticmethod(lambda *_: this.state.read_text())  # type: ignore[method-assign,assignment]  # nor here
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="wait" if this.sensor else "customize",
        run_id=this.run,
        map_index=this.index,
        max_tries=this.ask,
        try_number=this.number,
        task=SimpleNamespace(retries=RETRIES),
        xcom_push=lambda key, value: this.xcom(key, this.index).write_text(json.dumps(value)),
        xcom_pull=lambda **asked: _pulled(this, **asked),
    )
    events: dict[Any, Any] = defaultdict(lambda: SimpleNamespace(extra={}))
    dag_run = SimpleNamespace(partition_key=this.partition)
    return {"ti": ti, "dag_run": dag_run, "outlet_events": events}
