"""The ``airflow-bedrock`` command. It finds the subcommand, which has its own module."""

from __future__ import annotations

import argparse
import importlib
import io
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from types import ModuleType
from typing import TextIO

from airflow_bedrock import __version__

_results: ContextVar[TextIO | None] = ContextVar("results", default=None)
_COMMANDS = {
    "approve": (
        "airflow_bedrock.registry.approve",
        "approve or reject a promotion that waits for approval, before Airflow 3.1",
    ),
    "check": ("airflow_bedrock.datasets.command", "check training data for a base model before a job is paid for"),
    "estimate": ("airflow_bedrock.datasets.estimate_command", "estimate what a customization job will cost"),
    "prepare": (
        "airflow_bedrock.operators.prepare_command",
        "prepare training data for a base model from any records",
    ),
    "jobs": (
        "airflow_bedrock.jobs.command",
        "list the running jobs of this Airflow; stop those that no task waits for",
    ),
    "watch": ("airflow_bedrock.jobs.watch_command", "follow a customization job to its end"),
    "report": ("airflow_bedrock.jobs.report_command", "print a customization job's phases, losses and model"),
    "models": ("airflow_bedrock.registry.models", "list which models serve, since when, and who promoted them"),
    "rollback": ("airflow_bedrock.registry.rollback", "put an earlier model back"),
    "spend": ("airflow_bedrock.spend.command", "show what Bedrock has cost this month, and what is reserved"),
    "skeleton": ("airflow_bedrock.customization.skeleton", "print a customization request to fill in"),
    "local": ("airflow_bedrock.local.command", "run Local Bedrock, the offline service, until it is stopped"),
}
"""Subcommand → its module, and what it does.

The module has ``add_arguments(parser)`` and ``run(arguments) -> exit code``. If ``run`` raises an error of Airflow or
AWS, a ValueError or an OSError, its message is printed, and the exit code is 1, or the module's ``FAILED``.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    :param argv: the arguments; None for those of the process.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 cannot show the bars of losses, for example
    try:
        return _run(argv)
    except KeyboardInterrupt:  # as watch is usually ended, or while Airflow loads; a traceback would say no more
        sys.stderr.write("Interrupted.\n")
        return 130  # as a shell reports SIGINT


def _run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="airflow-bedrock",
        usage="%(prog)s <command> ...",
        description="Amazon Bedrock model customization from Apache Airflow.",
        epilog="\n".join(["commands:", *(f"  {name:10}{help_}" for name, (_, help_) in _COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", nargs="?", choices=_COMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parsed = parser.parse_args(argv)
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return 2
    if argv is None:  # Airflow and botocore log each client that they make; they log problems as warnings
        os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING")
    with _logs_to_stderr():
        module = _load(parsed.command)
    command = argparse.ArgumentParser(prog=f"airflow-bedrock {parsed.command}", description=module.__doc__)
    module.add_arguments(command)
    if any(map(_is_empty, parsed.arguments)):
        command.error("arguments must not be empty: a shell variable may be unset")
    arguments = command.parse_args(parsed.arguments)
    try:
        with _logs_to_stderr():
            if (conn_id := getattr(arguments, "aws_conn_id", None)) and not _is_known(conn_id):
                command.error(
                    f"argument --aws-conn-id: Airflow has no connection {conn_id!r}, or cannot read it, in the "
                    "environment, the secrets backend or the metadata database of this shell's Airflow configuration"
                )
            code: int = module.run(arguments)
            results().flush()
    except BrokenPipeError:  # as in `airflow-bedrock jobs | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # since Python flushes it again at exit
        return 1
    except _failures() as error:
        from airflow_bedrock.aws_errors import with_remedy  # here, since it loads botocore

        sys.stderr.write(f"{command.prog}: {with_remedy(error)}\n")
        return getattr(module, "FAILED", 1)
    return code


def _is_empty(argument: str) -> bool:
    option, equals, value = argument.partition("=")
    return not (value if equals and option.startswith("--") else argument).strip()


def _failures() -> tuple[type[Exception], ...]:
    """Return the errors whose message says enough.

    A ValueError is botocore's for settings such as an endpoint, an OSError is of a file or a full disk.
    """
    from airflow_bedrock.aws_errors import CALL_ERRORS  # here, since it loads botocore

    compat = sys.modules.get("airflow_bedrock.compat")  # unless a command has loaded Airflow, no error is of its kind
    return *((compat.AirflowException,) if compat else ()), OSError, ValueError, *CALL_ERRORS


def _is_known(conn_id: str) -> bool:
    from airflow_bedrock.jobs.connection import export_connection  # here, since it loads Airflow

    return export_connection(conn_id)


@contextmanager
def _logs_to_stderr() -> Iterator[None]:
    token = _results.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)


def results() -> TextIO:
    """Return the stream for a command's results. ``sys.stdout`` is stderr while a command runs: Airflow logs to it."""
    return _results.get() or sys.stdout


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines of text, in columns below the header."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return numbers as a line of small bars; if there are too many, the first number of each equal part."""
    shown = [values[len(values) * place // width] for place in range(width)] if len(values) > width else values
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    steps = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * steps)] for value in shown)


def add_connection(parser: argparse.ArgumentParser, region_of: str) -> None:
    """Declare the options for the connection to AWS, or to Local Bedrock.

    :param region_of: the things in the region, for the help.
    """
    parser.add_argument(
        "--aws-conn-id",
        metavar="ID",
        help="an Airflow connection (default: boto3's own credentials)",
    )
    parser.add_argument("--region", help=f"AWS region of {region_of} (default: the connection's, or boto3's)")


def seconds(text: str) -> float:
    """Return a time in seconds, more than 0; argparse reports any other text as an invalid seconds value."""
    if not 0 < (found := float(text)) < math.inf:
        raise ValueError
    return found


def add_format(parser: argparse.ArgumentParser) -> None:
    """Declare the output format."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def _load(command: str) -> ModuleType:
    try:
        return importlib.import_module(_COMMANDS[command][0])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("airflow_bedrock"):
            raise
        # What the other commands need comes with the package.
        help_ = "Install it in this environment: it may be the driver of the database in your Airflow configuration."
        if command == "local":
            help_ = "Install it with: pip install 'airflow-bedrock[local]', or in a checkout: pip install '.[local]'"
        sys.exit(f"airflow-bedrock {command} needs {error.name}, which is not installed. {help_}")
