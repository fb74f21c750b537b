"""Lambda functions, for graders and Invoke: their code runs in a Python process; moto would need Docker.

Event and response are those of reinforcement fine-tuning: a list of samples in, a list of ``{"id",
"aggregate_reward_score"}`` out. Only zipped Python functions run, without layers and without AWS's limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Sequence
from typing import Any

from airflow_bedrock.local.moto import lambda_function
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.records import DataError
from airflow_bedrock.local.work.sandbox import Sandbox, SandboxError

BATCH = 256
"""Number of samples in one call of the function."""

SECONDS = 60.0
"""Seconds that a grader may take in addition to the function's own timeout for each call."""

NOT_ALLOWED = (
    "The Lambda grader {} was not run: a grader is a program, and Local Bedrock runs none by default. Allow "
    "graders with `airflow-bedrock local --allow-graders`, in Python with LocalBedrock(allow_graders=True), in a test "
    "with @pytest.mark.local_bedrock(allow_graders=True)"
)


class Grader:
    """The grader of a job.

    :raises DataError: graders are not allowed, the function does not exist, or the role is not allowed to call it.
    """

    def __init__(self, bedrock: Bedrock, job: Job) -> None:
        self._runner, self._key = bedrock.world.runner, job.arn
        self._arn: str = job.request["customizationConfig"]["rftConfig"]["graderConfig"]["lambdaGrader"]["lambdaArn"]
        if not bedrock.world.settings.allow_graders:
            raise DataError(NOT_ALLOWED.format(self._arn))
        if not Role(bedrock, job.request["roleArn"], job.arn).may("lambda:InvokeFunction", self._arn):
            raise DataError(f"Could not validate InvokeFunction permissions to access Lambda function: {self._arn}")
        self._function = _find(self._arn)

    def rewards(self, samples: Sequence[tuple[dict[str, Any], str]]) -> Generator[float, None, list[float]]:
        """Return the reward of each answer; other jobs continue while the function runs.

        :param samples: each unchanged record, and an answer to it.
        :raises DataError: the function fails, or returns something else.
        """
        events = [
            {**fields, "id": str(number), "messages": [*fields["messages"], {"role": "assistant", "content": answer}]}
            for number, (fields, answer) in enumerate(samples)
        ]
        batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
        sandbox = _sandbox(self._function, batches)
        try:
            answers = yield from self._runner.aside(self._key, sandbox.run, sandbox.cancel)
        except SandboxError as error:
            raise DataError(f"The Lambda grader {self._arn} failed: {error}") from error
        try:
            rewards = {one["id"]: float(one["aggregate_reward_score"]) for answer in answers for one in answer}
            if not all(map(math.isfinite, rewards.values())):
                raise ValueError("a reward must be a number")
            return [rewards[event["id"]] for event in events]
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The Lambda grader {self._arn} must return a list with id and aggregate_reward_score for each sample"
            ) from error


def _find(arn: str) -> Any:
    function = lambda_function(arn)
    if function is None:
        raise DataError(f"The Lambda grader {arn} was not found")
    if not _runnable(function):
        raise DataError(f"The Lambda grader {arn} cannot be run here: only zipped Python functions can")
    return function


def invoke(function: Any, event: Any) -> tuple[str, bool, str]:
    """Run a function in place of moto's Lambda, if graders are allowed.

    :returns: the response in JSON, whether the function failed, and its output, which is not kept.
    """
    try:
        if not _runnable(function):
            raise SandboxError("only zipped Python functions can run here")
        [answer] = _sandbox(function, [json.loads(event) if isinstance(event, str) else event]).run()
    except SandboxError as error:
        return json.dumps({"errorMessage": str(error)}), True, ""
    return json.dumps(answer), False, ""


def _sandbox(function: Any, events: Sequence[Any]) -> Sandbox:
    seconds = SECONDS + len(events) * float(function.timeout or 3)
    return Sandbox(function.code_bytes, function.handler, function.environment_vars or {}, events, seconds)


def _runnable(function: Any) -> bool:
    return str(function.run_time).startswith("python") and bool(function.code_bytes)
