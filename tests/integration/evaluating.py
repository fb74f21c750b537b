"""A program that evaluates with two workers at once, which are killed: ``python evaluating.py ARGUMENTS DELAYS``.

It imports everything once, and forks. Each worker kills itself some seconds after its first answer, as DELAYS says, and
another one takes its place; when there are no more delays, workers run to their end. It prints when each of them began,
and what the last ones said. The journal of Local Bedrock shows for each question who asked it, by the worker's number,
and when.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock.converse import ConverseModel
from airflow_bedrock.evaluation import inference
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.hooks import BedrockHook, BedrockRuntimeHook
from airflow_bedrock.operators import BedrockModelEvaluationOperator

sys.path.append(str(Path(__file__).parents[2]))

from tests.cheap_clients import make_clients_cheap

KEEP = 5
"""Answers of a batch, here: few, so that many are kept before a kill."""


class Mortal:
    """Asks for a worker, whose number and hour the journal then shows, and kills it in time."""

    def __init__(self, number: int, delay: float | None) -> None:
        self._number = number
        self._end = None if delay is None else threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
        self._first = threading.Lock()
        self._ask = ConverseModel.ask

    def ask(self, model: ConverseModel, request: Mapping[str, Any], key: str) -> Answer:
        answer = self._ask(model, request, f"{key[:12]}-{self._number}-{time.time():.3f}")
        if self._end and self._first.acquire(blocking=False):
            self._end.start()
        return answer


def work(arguments: dict[str, Any], output: int, mortal: Mortal) -> None:
    try:
        inference.KEEP_ANSWERS = KEEP
        inference._FETCH_SECONDS = 0.0  # with each batch that is kept
        setattr(ConverseModel, "ask", lambda model, request, key="": mortal.ask(model, request, key))  # noqa: B010  # a method
        result = BedrockModelEvaluationOperator(**arguments).execute({})
        os.write(output, (json.dumps(result) + "\n").encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    arguments, delays = (json.loads(given) for given in sys.argv[1:])

    import airflow_bedrock.evaluation.plots
    import airflow_bedrock.evaluation.scoring  # noqa: F401 - before the forks, so that each begins at once

    make_clients_cheap()
    assert all(hook.conn for hook in (BedrockHook(), BedrockRuntimeHook(), S3Hook()))
    reading, output = os.pipe()
    began: list[float] = []

    def start() -> None:
        began.append(time.time())
        number = len(began) - 1
        if not os.fork():
            work(arguments, output, Mortal(number, delays[number] if number < len(delays) else None))

    start()
    start()
    running = 2
    while running:
        _, status = os.wait()
        if os.WIFSIGNALED(status):
            start()
        else:
            assert status == 0
            running -= 1
    os.close(output)
    with os.fdopen(reading) as lines:
        print(json.dumps({"began": began, "results": [json.loads(line) for line in lines]}), file=sys.__stdout__)


if __name__ == "__main__":
    main()
