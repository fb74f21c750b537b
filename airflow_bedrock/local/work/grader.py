"""A Lambda function as grader: its own code, run by a Python of its own, since moto's Lambda would need Docker.

The event and the answer are those of reinforcement fine-tuning: a list of samples in, a list of
``{"id", "aggregate_reward_score"}`` out. Only zipped Python functions run, without layers and without AWS's limits.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.records import DataError

BATCH = 256
"""Samples in one call of the function."""

_RUN = """
import importlib, json, sys
sys.path.insert(0, ".")
module, _, name = sys.argv[1].rpartition(".")
handler = getattr(importlib.import_module(module.replace("/", ".")), name)
out, sys.stdout = sys.stdout, sys.stderr
json.dump([handler(event, None) for event in json.load(sys.stdin)], out)
"""


class Grader:
    """The grader of a job.

    :raises DataError: the function is not there, or the role may not call it.
    """

    def __init__(self, bedrock: Bedrock, job: Job) -> None:
        self._arn: str = job.request["customizationConfig"]["rftConfig"]["graderConfig"]["lambdaGrader"]["lambdaArn"]
        if not Role(bedrock, job.request["roleArn"], job.arn).may("lambda:InvokeFunction", self._arn):
            raise DataError(f"Could not validate InvokeFunction permissions to access Lambda function: {self._arn}")
        self._function = _find(self._arn)

    def rewards(self, samples: Sequence[tuple[dict[str, Any], str]]) -> list[float]:
        """Return the reward of each answer.

        :param samples: each record as it stands, and an answer to it.
        :raises DataError: the function fails, or answers something else.
        """
        events = [
            {**fields, "id": str(number), "messages": [*fields["messages"], {"role": "assistant", "content": answer}]}
            for number, (fields, answer) in enumerate(samples)
        ]
        batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
        try:
            graded = [one for answer in self._call(batches) for one in answer]
            rewards = {one["id"]: float(one["aggregate_reward_score"]) for one in graded}
            return [rewards[event["id"]] for event in events]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The Lambda grader {self._arn} must answer a list with id and aggregate_reward_score of each sample"
            ) from error

    def _call(self, events: Sequence[Any]) -> list[Any]:
        function = self._function
        environment = {"PATH": os.environ.get("PATH", ""), **(function.environment_vars or {})}
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as code:
                code.extractall(folder)
            _write(Path(folder) / ".run_grader.py")
            ended = subprocess.run(  # noqa: S603  # the user's own function, which is to be run
                [sys.executable, "-I", ".run_grader.py", function.handler],
                input=json.dumps(events),
                capture_output=True,
                text=True,
                cwd=folder,
                env=environment,
                timeout=60 + len(events) * float(function.timeout or 3),
                check=False,
            )
        if ended.returncode:
            reason = ended.stderr.strip().splitlines()[-1:] or ["no message"]
            raise DataError(f"The Lambda grader {self._arn} failed: {reason[0]}")
        answers: list[Any] = json.loads(ended.stdout)
        return answers


def _find(arn: str) -> Any:
    """Return moto's own object for a function: no API gives its code away."""
    from moto.awslambda.exceptions import UnknownFunctionException
    from moto.awslambda.models import lambda_backends

    parts = arn.split(":")
    try:
        function = lambda_backends[parts[4]][parts[3]].get_function(arn)
    except (UnknownFunctionException, KeyError) as error:
        raise DataError(f"The Lambda grader {arn} was not found") from error
    if not str(function.run_time).startswith("python") or not function.code_bytes:
        raise DataError(f"The Lambda grader {arn} cannot be run here: only zipped Python functions can")
    return function


def _write(path: Path) -> None:
    path.write_text(_RUN)
