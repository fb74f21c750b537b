"""A program that evaluates, and is killed: ``python evaluating.py ARGUMENTS DELAYS WORKERS``.

It imports everything once, and forks: a child for each delay, which it kills after so many seconds, and in the end as
many at once as there are workers, which run to their end. It prints when it killed whom, and what the last ones said.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from typing import Any

from airflow_bedrock.evaluation import inference
from airflow_bedrock.operators import BedrockModelEvaluationOperator

KEEP = 10
"""Answers of a batch, here: few, so that many are kept before a kill."""


def work(arguments: dict[str, Any], output: int) -> None:
    try:
        inference.KEEP_ANSWERS = KEEP
        result = BedrockModelEvaluationOperator(**arguments).execute({})
        os.write(output, (json.dumps(result) + "\n").encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def start(arguments: dict[str, Any], output: int) -> int:
    pid = os.fork()
    if not pid:
        work(arguments, output)
    return pid


def main() -> None:
    arguments, delays, workers = (json.loads(given) for given in sys.argv[1:])

    import airflow_bedrock.evaluation.scoring
    import airflow_bedrock.hooks.bedrock  # noqa: F401 - before the forks, so that each begins at once

    reading, output = os.pipe()
    kills = []
    for delay in delays:
        pid = start(arguments, output)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills.append(time.time())
    for pid in [start(arguments, output) for _ in range(workers)]:
        assert os.waitpid(pid, 0)[1] == 0
    os.close(output)
    with os.fdopen(reading) as lines:
        print(json.dumps({"kills": kills, "results": [json.loads(line) for line in lines]}), file=sys.__stdout__)


if __name__ == "__main__":
    main()
