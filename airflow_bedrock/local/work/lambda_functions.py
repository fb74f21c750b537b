"""Lambda's Invoke, where graders are allowed: the function's Python in a sandbox, since moto's would need Docker."""

from __future__ import annotations

import json
from typing import Any

from airflow_bedrock.local import moto
from airflow_bedrock.local.work.grader import SECONDS, runnable
from airflow_bedrock.local.work.sandbox import Sandbox, SandboxError


def install() -> None:
    """Have the functions of this process's moto run here, as graders are run."""
    moto.run_functions_by(_run)


def _run(function: Any, event: Any) -> tuple[str, bool, str]:
    """Return what the function answers, whether it failed, and what it printed, which is not kept."""
    try:
        if not runnable(function):
            raise SandboxError("only zipped Python functions can run here")
        event = json.loads(event) if isinstance(event, str) else event
        seconds = SECONDS + float(function.timeout or 3)
        sandbox = Sandbox(function.code_bytes, function.handler, function.environment_vars or {}, [event], seconds)
        [answer] = sandbox.run()
    except SandboxError as error:
        return json.dumps({"errorMessage": str(error)}), True, ""
    return json.dumps(answer), False, ""
