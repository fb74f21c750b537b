"""Follow a customization job to its end: its status, its phases, its losses; then print its report.

Bedrock publishes the losses of a job when it has completed. Local Bedrock also shows them while it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import httpx

from airflow_bedrock.cli import add_connection, add_format, results, seconds
from airflow_bedrock.customization.console import local_page
from airflow_bedrock.customization.job import Job, Outcome, duration
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import report_command
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.waiting import Poller

_NO_RESPONSE_TIMEOUT = 3600.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("job", help="the job's ARN or its name")
    parser.add_argument("--delay", type=seconds, default=30, help="seconds between two polls (default: %(default)s)")
    add_format(parser)
    add_connection(parser, "the job")


def run(arguments: argparse.Namespace) -> int:
    """Print a line (or a JSON object) for each change until the job has ended. Return 1 if it made no model."""
    job = _follow(BedrockHook(aws_conn_id=arguments.aws_conn_id, region_name=arguments.region), arguments)
    if arguments.format == "table":
        report_command.run(arguments)
    return 0 if job.outcome is Outcome.SUCCEEDED else 1


def _follow(hook: BedrockHook, arguments: argparse.Namespace) -> Job:
    as_json = arguments.format == "json"
    service = Service(CUSTOMIZATION_JOB, hook)
    service.get(arguments.job)  # an error of the first call, such as missing credentials, ends the command at once
    poller = Poller(
        service,
        arguments.job,
        _NO_RESPONSE_TIMEOUT,
        exists=arguments.job.startswith("arn:"),
        say=(lambda _: None) if as_json else _line,
    )
    before: object = None
    while True:
        job = poller.poll()
        if isinstance(job, Job):
            steps = _steps(hook, job)
            now = job.progress, steps.get("step")
            if as_json and now != before:
                results().write(f"{json.dumps({**job.result(), **steps})}\n")
            elif steps and now != before:
                _line(_rate(job, steps))
            results().flush()
            before = now
            if job.outcome is not Outcome.RUNNING:
                return job
        time.sleep(arguments.delay)


def _line(text: str) -> None:
    results().write(f"{text}\n")


def _steps(hook: BedrockHook, job: Job) -> dict[str, Any]:
    """Return step, steps and loss of a job that trains on Local Bedrock; nothing on AWS, which does not report them."""
    page = local_page(hook.conn.meta.endpoint_url)
    if job.outcome is not Outcome.RUNNING or not page:
        return {}
    try:
        jobs = httpx.get(f"{page}jobs", timeout=10).raise_for_status().json()
        found = next(one for one in jobs if one["name"] == job.name and one["trainingLoss"] is not None)
        return {"step": found["step"], "steps": found["steps"], "loss": found["trainingLoss"]}
    except (httpx.HTTPError, ValueError, StopIteration):
        return {}


def _rate(job: Job, steps: dict[str, Any]) -> str:
    line = f"Step {steps['step']} of {steps['steps']}, training loss {steps['loss']:.4f}"
    training = job.phases.get("training")
    seconds = time.time() - training.started.timestamp() if training and training.started else 0.0
    if seconds < 1 or not steps["step"]:
        return line
    remaining = seconds * (steps["steps"] - steps["step"]) / steps["step"]
    return f"{line}, {steps['step'] / seconds:.3g} steps a second, {duration(remaining)} left"
