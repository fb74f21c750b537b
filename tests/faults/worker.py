"""A worker: one try of a task, in a process of its own. Its exit code says how the try ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog

SUCCESS, FAILED, FATAL, DEFERRED = 0, 10, 11, 12


@dataclass(frozen=True)
class Try:
    """What a worker is told.

    :param package: ``ours`` or ``upstream``.
    :param arguments: of the operator.
    :param environment: how to reach the service.
    :param home: a folder for what outlives the worker: the task instance's state, the trigger's event.
    :param clear_number: how often the task was cleared.
    :param number: the try number, which a Clear does not set back.
    :param resume: take up the trigger's event instead of executing.
    :param timeout: execution_timeout, in seconds.
    """

    package: str
    arguments: dict[str, Any]
    environment: dict[str, str]
    home: Path
    clear_number: int = 0
    number: int = 1
    resume: bool = False
    timeout: float | None = None

    @property
    def state(self) -> Path:
        """Where the task instance's state stands."""
        return self.home / "state"

    @property
    def event(self) -> Path:
        """Where the trigger's event stands."""
        return self.home / "event"


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
            operator.execute_complete(context, event=json.loads(this.event.read_text()))
        else:
            _with_timeout(this, operator, context)
    except TaskDeferred as deferred:
        this.event.write_text(json.dumps(asyncio.run(_first_event(deferred.trigger))))
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


async def _first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise RuntimeError("the trigger ended without an event")


def _operator(this: Try) -> Any:
    from airflow.providers.amazon.aws.operators.bedrock import BedrockCustomizeModelOperator

    from airflow_bedrock.operators.customization import BedrockModelCustomizationOperator

    operators: dict[str, Any] = {"ours": BedrockModelCustomizationOperator, "upstream": BedrockCustomizeModelOperator}
    return operators[this.package](task_id="customize", **this.arguments)


def _context(this: Try) -> Any:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    def states(**_: object) -> dict[str, dict[str, str]]:
        return {"run": {"customize": this.state.read_text()}}

    RuntimeTaskInstance.get_task_states = staticmethod(states)  # type: ignore[method-assign,assignment]  # no supervisor here
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="customize",
        run_id="run",
        map_index=-1,
        max_tries=2 + this.clear_number,
        try_number=this.number,
        xcom_push=lambda key, value: None,
        xcom_pull=lambda **_: None,
    )
    events: dict[Any, Any] = defaultdict(lambda: SimpleNamespace(extra={}))
    return {"ti": ti, "dag_run": SimpleNamespace(), "outlet_events": events}
