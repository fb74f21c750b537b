"""Run Local Bedrock: an offline Amazon Bedrock, with S3, IAM and more, for Airflow, boto3 and the AWS CLI."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from pathlib import Path

from airflow_bedrock.local.service import LocalBedrock
from airflow_bedrock.local.settings import Settings
from airflow_bedrock.local.state.store import StateError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    default = Settings()
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, which only this computer reaches)",
    )
    parser.add_argument(
        "--port", type=int, default=4599, help="port to listen on; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--job-seconds",
        type=float,
        default=default.job_seconds,
        help="least time a customization job takes (default: %(default)s)",
    )
    parser.add_argument(
        "--deployment-seconds",
        type=float,
        default=default.deployment_seconds,
        help="time until a deployment is Active (default: %(default)s)",
    )
    parser.add_argument(
        "--bucket", default=default.bucket, help="S3 bucket that is there from the start (default: %(default)s)"
    )
    parser.add_argument(
        "--region", default=default.region, help="region of the bucket and of clients (default: %(default)s)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        help="directory that keeps jobs, models and buckets between runs (default: nothing is kept)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    local = LocalBedrock(
        arguments.host,
        arguments.port,
        job_seconds=arguments.job_seconds,
        deployment_seconds=arguments.deployment_seconds,
        bucket=arguments.bucket,
        region=arguments.region,
        state=arguments.state,
    )
    try:
        local.start()
    except StateError as error:
        sys.stderr.write(f"Local Bedrock did not start: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(
            f"Local Bedrock could not listen on {arguments.host}:{arguments.port}: {error.strerror}. "
            "Stop what uses the port, or give another with --port.\n"
        )
        return 1
    try:
        sys.stdout.write(announcement(local))
        sys.stdout.flush()
        ended.wait()
    finally:
        local.stop()
    return 0


def announcement(local: LocalBedrock) -> str:
    """Return what to tell the user: where it listens, and the environment to export."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in local.environment().items()]
    return "\n".join([*exports, f"# Local Bedrock listens on {local.endpoint_url}. Stop it with Ctrl-C.", ""])
