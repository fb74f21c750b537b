"""Print the status, the phases, the losses, the model and the output of a customization job."""

from __future__ import annotations

import argparse
import json
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock.cli import add_connection, add_format, results, sparkline, table
from airflow_bedrock.compat import AirflowException
from airflow_bedrock.customization.console import local_page, resource_url
from airflow_bedrock.customization.job import Job, Outcome, duration
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.s3 import read_losses
from airflow_bedrock.jobs.service import Service


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("job", help="the job's ARN or its name")
    add_format(parser)
    add_connection(parser, "the job")


def run(arguments: argparse.Namespace) -> int:
    """Print the report, and return the exit code."""
    hook = BedrockHook(aws_conn_id=arguments.aws_conn_id, region_name=arguments.region)
    job = Service(CUSTOMIZATION_JOB, hook).get(arguments.job)
    if not isinstance(job, Job):
        raise AirflowException(
            f"There is no customization job {arguments.job} in region {hook.conn_region_name}. Check the region, the "
            "account and the name: BedrockModelCustomizationOperator adds a digest to its job_name."
        )
    s3 = S3Hook(arguments.aws_conn_id, region_name=arguments.region)
    losses = read_losses(s3, job) if job.outcome is Outcome.SUCCEEDED else {"losses_by_epoch": [], "losses_by_step": []}
    page = local_page(hook.conn.meta.endpoint_url, job.arn) or resource_url(job.arn)
    report = {**job.result(), **losses, "failure_message": job.failure_message, "console_url": page}
    results().write(f"{json.dumps(report, indent=2)}\n" if arguments.format == "json" else _text(job, report))
    return 0


def _text(job: Job, report: dict[str, Any]) -> str:
    members = {
        "Job": job.name,
        "ARN": job.arn,
        "Status": job.status,
        "Failure": job.failure_message,
        "Created": report["created"],
        "Ended": report["ended"],
        "Base model": job.base_model_arn,
        "Custom model": job.model_arn or job.model_name,
        "Output": job.artifacts_uri,
        "Page": report["console_url"],
        "Training loss": sparkline([loss for _, loss in report["losses_by_step"]]),
    }
    lines = [f"{name:<14} {value}\n" for name, value in members.items() if value]
    phases = [
        (name, phase.status, "" if phase.seconds is None else duration(phase.seconds))
        for name, phase in job.phases.items()
    ]
    epochs = [
        (str(one["epoch"]), _loss(one["training_loss"]), _loss(one["validation_loss"]))
        for one in report["losses_by_epoch"]
    ]
    if phases:
        lines += ["\n", table(("PHASE", "STATUS", "TIME"), phases)]
    if epochs:
        lines += ["\n", table(("EPOCH", "TRAINING LOSS", "VALIDATION LOSS"), epochs)]
    return "".join(lines)


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
