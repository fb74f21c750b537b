"""List the running jobs of this Airflow, of every kind, and stop those that no task waits for.

It reads the state of the waiting tasks from Airflow's REST API, with the token in the environment variable
AIRFLOW_API_TOKEN. It keeps a job if it cannot read the state of one of its tasks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx

from airflow_bedrock import configuration
from airflow_bedrock.aws_errors import CALL_ERRORS, with_remedy
from airflow_bedrock.cli import add_connection, add_format, results, table
from airflow_bedrock.compat import AirflowException, conf
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.orphans import RunningJob, running_jobs
from airflow_bedrock.jobs.stopping import patiently, stop_job

_SECONDS = 30
_HEADER = ("JOB", "SINCE", "WHO ASKED", "STATE", "WHAT TO DO")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--orphans", action="store_true", help="only the jobs that no task waits for")
    parser.add_argument("--stop", action="store_true", help="stop them (with --orphans)")
    add_connection(parser, "the jobs")
    add_format(parser)
    parser.add_argument("--airflow-url", metavar="URL", help="URL of Airflow's API server (default: [api] base_url)")
    parser.add_argument(
        "--environment", metavar="NAME", help="environment that made the jobs (default: [bedrock] environment)"
    )
    parser.set_defaults(error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """List the jobs, stop them if requested, and return the exit code.

    :return: 1 if AWS did not list all running jobs, or Airflow cannot say which of them are orphaned.
    """
    if arguments.stop and not arguments.orphans:
        arguments.error("--stop stops only orphaned jobs: add --orphans")
    environment = arguments.environment or configuration.environment()
    hook = BedrockHook(aws_conn_id=arguments.aws_conn_id, region_name=arguments.region)
    url = arguments.airflow_url or conf.get("api", "base_url", fallback="") or "http://localhost:8080"
    token = os.environ.get("AIRFLOW_API_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    found: list[RunningJob] = []
    stopped: list[str] = []
    code = 0
    try:
        with httpx.Client(base_url=f"{url.rstrip('/')}/api/v2", headers=headers, timeout=_SECONDS) as api:
            if arguments.orphans:
                api.get("dags", params={"limit": 1}).raise_for_status()
            for one in running_jobs(hook, environment, _states(api)):
                found.append(one)
                if arguments.stop and not one.kept:  # at once: later, a task may wait for it again
                    stopped.append(patiently(stop_job, one.service, one.job.arn))
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:  # the last is raised for a malformed token
        sys.stderr.write(
            f"Could not read from Airflow which jobs are orphaned: {error}\nNo job was stopped. Set --airflow-url to "
            "the URL of its API server and AIRFLOW_API_TOKEN to a token that can read DAGs, runs and task instances.\n"
        )
        return 1
    except (AirflowException, *CALL_ERRORS) as error:
        sys.stderr.write(f"Could not list all running jobs: {with_remedy(error)}\n")
        code = 1
    orphans = [one for one in found if not one.kept]
    shown = orphans if arguments.orphans else found
    for one in found:
        if one.kept and arguments.orphans:
            sys.stderr.write(f"{one.service.resource.noun.capitalize()} {one.job.arn} is kept: {one.kept}.\n")
    if arguments.format == "json":
        results().write(f"{json.dumps([_members(one) for one in shown], indent=2)}\n")
        sys.stderr.writelines(f"{outcome}\n" for outcome in stopped)
    else:
        results().write(table(_HEADER, [_row(one) for one in shown]))
        results().writelines(f"{outcome}\n" for outcome in stopped)
        least = "at least " if code else ""
        results().write(f"{least}{len(found)} running, {least}{len(orphans)} orphaned in environment {environment!r}\n")
    return code


def _members(one: RunningJob) -> dict[str, Any]:
    return {
        "arn": one.job.arn,
        "name": one.job.name,
        "kind": one.service.resource.kind,
        "status": one.job.status,
        "created": one.job.created.isoformat() if one.job.created else None,
        "waiters": [waiter.name for waiter in one.waiters],
        "orphaned": not one.kept,
        "kept": one.kept,
    }


def _states(api: httpx.Client) -> Callable[[Waiter], str | None]:
    """Return a function that reads the state of a waiter's task instance or DAG run from Airflow's REST API."""

    def state_of(waiter: Waiter) -> str | None:
        run = f"dags/{quote(waiter.dag_id, safe='')}/dagRuns/{quote(waiter.run_id, safe='')}"
        response = api.get(run).raise_for_status()
        if waiter.until == "task":
            index = f"/{waiter.map_index}" if waiter.map_index >= 0 else ""
            response = api.get(f"{run}/taskInstances/{quote(waiter.task_id, safe='')}{index}")
            if response.status_code == httpx.codes.NOT_FOUND:
                return "removed"  # a person deleted it
        state: str | None = response.raise_for_status().json()["state"]
        return state

    return state_of


def _row(one: RunningJob) -> tuple[str, ...]:
    who = ", ".join(waiter.name for waiter in one.waiters) or "unknown"
    since = f"{one.job.created:%Y-%m-%d %H:%M %Z}" if one.job.created else ""
    if one.kept:
        return one.job.arn, since, who, "kept", f"nothing: {one.kept}"
    if one.service.resource.stop_operation is None:
        return one.job.arn, since, who, "orphaned", f"nothing: it cannot be stopped, and {one.service.resource.billed}"
    return one.job.arn, since, who, "orphaned", "stop it: all tasks that waited for it have ended"
