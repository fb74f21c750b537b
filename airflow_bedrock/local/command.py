"""Run Local Bedrock: an offline Amazon Bedrock, with S3, IAM and more, for Airflow, boto3 and the AWS CLI.

It prints the environment variables to export, and serves until Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import signal
import sys
import threading
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from airflow_bedrock.cli import results
from airflow_bedrock.local.service import LocalBedrock
from airflow_bedrock.local.settings import Quotas, Settings
from airflow_bedrock.local.state.store import StateError
from airflow_bedrock.local.web.guard import address_of

_EPILOG = """\
examples:
  airflow-bedrock local --state .local-bedrock
      keep jobs, models and buckets in a directory; jobs continue after a restart
  airflow-bedrock local --job-seconds 7200 --speed 60
      jobs of two hours, each in two minutes
  airflow-bedrock local --clock manual
      time stands still, until: curl -X POST -d '{"advance": 3600}' http://127.0.0.1:4599/_local/clock

while it runs, http://127.0.0.1:4599/_local/ shows its content in a browser; programs can use:
  GET /_local/health   whether it is up             GET, DELETE /_local/calls          every call that was made
  GET /_local/jobs     phase, step, losses          GET, POST /_local/clock            the time
                                                    GET, POST, DELETE /_local/faults   what goes wrong on demand

docs/local-bedrock.md has the rest.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(**vars(Settings()))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    network = parser.add_argument_group("network")
    network.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, which only this computer can reach)",
    )
    network.add_argument(
        "--port", type=_port, default=4599, help="port to listen on; 0 takes a free one (default: %(default)s)"
    )
    network.add_argument(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        default=[],
        metavar="NAME",
        help="another host name that clients may use, such as a container's; requests with other names are rejected",
    )
    account = parser.add_argument_group("account")
    account.add_argument("--bucket", help="S3 bucket that exists from the start (default: %(default)s)")
    account.add_argument("--region", help="region of the bucket and of clients (default: %(default)s)")
    account.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="directory that keeps jobs, models, buckets and roles between runs (default: nothing is kept)",
    )
    account.add_argument(
        "--no-check-role",
        dest="check_role",
        action="store_false",
        help="accept any role, even if it does not exist or lacks the permissions of its job",
    )
    account.add_argument(
        "--enforce-iam",
        action="store_true",
        help="let IAM users and assumed roles do only what their policies allow; the printed credentials allow "
        "everything",
    )
    account.add_argument(
        "--allow-graders",
        action="store_true",
        help="let reinforcement fine-tuning run its grader, a Lambda function: anybody who reaches Local Bedrock can "
        "then run programs with your permissions",
    )
    account.add_argument(
        "--quota",
        type=_quota,
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help=f"change a quota (defaults: {', '.join(f'{one.name}={one.default}' for one in fields(Quotas))})",
    )
    time = parser.add_argument_group("time")
    time.add_argument(
        "--job-seconds",
        type=float,
        help="minimum seconds that a customization job takes (default: %(default)s)",
    )
    time.add_argument(
        "--deployment-seconds",
        type=float,
        help="time until a deployment is Active (default: %(default)s)",
    )
    time.add_argument(
        "--speed",
        type=float,
        help="how much faster than real time its clock runs; with 60, an hour takes a minute (default: %(default)s)",
    )
    time.add_argument(
        "--start",
        type=_time,
        help="time at which its clock starts, e.g. 2026-06-01 (UTC): base models have an end of life (default: now)",
    )
    time.add_argument(
        "--clock",
        choices=["real", "manual"],
        help="a manual clock stands still until it is moved by POST /_local/clock (default: %(default)s)",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("must be a port from 0 to 65535")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    settings = {one.name: getattr(arguments, one.name) for one in fields(Settings)}
    settings["quotas"] = Quotas(**dict(arguments.quota))
    try:
        local = LocalBedrock(arguments.host, arguments.port, **settings)
        local.start()
    except (StateError, ValueError) as error:
        sys.stderr.write(f"Local Bedrock did not start: {error}\n")
        return 1
    except OSError as error:
        help_ = "Choose another address with --host, or another port with --port."
        if error.errno == errno.EADDRINUSE:
            help_ = "Stop the program that uses the port, or choose another with --port."
        sys.stderr.write(
            f"Local Bedrock could not listen on {arguments.host}:{arguments.port}: {error.strerror}. {help_}\n"
        )
        return 1
    try:
        sys.stderr.write(_warning(arguments.host))
        results().write(announcement(local))
        results().flush()
        ended.wait()
    finally:
        local.stop()
    return 0


def announcement(local: LocalBedrock) -> str:
    """Return the text printed at the start: the address, and the environment variables to export."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in local.environment().items()]
    # Clients prefer an API key for AWS to the access key; since botocore 1.44 they refuse to send it over HTTP.
    if "AWS_BEARER_TOKEN_BEDROCK" in os.environ:
        exports.append("unset AWS_BEARER_TOKEN_BEDROCK")
    listens = f"# Local Bedrock listens on {local.endpoint_url}. Stop it with Ctrl-C."
    page = f"# {local.endpoint_url}/_local/ shows its content in a browser."
    return "\n".join([*exports, listens, page, ""])


def _warning(host: str) -> str:
    """Return a warning if other computers can reach the address."""
    address = address_of(host)
    if address.is_loopback if address else host == "localhost":
        return ""
    return (
        f"Local Bedrock listens on {host} and requires no credentials: anybody who reaches this computer can read and "
        "change everything in it. Put nothing confidential there, or remove --host.\n"
    )


def _quota(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    known = [one.name for one in fields(Quotas)]
    if name not in known or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=NUMBER, with one of these names: {', '.join(known)}")
    return name, int(number)


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a time such as 2026-06-01 or 2026-06-01T12:00:00Z") from None
