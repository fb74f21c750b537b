"""The ``airflow-bedrock`` command: finds the subcommand, which lives in a module of its own."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

_COMMANDS = {
    "local": ("airflow_bedrock.local.command", "run Local Bedrock, the offline service, until it is stopped"),
}
"""Subcommand → its module, which has ``add_arguments(parser)`` and ``run(arguments) -> exit code``; and its help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    :param argv: the arguments; None takes those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="airflow-bedrock", description="Amazon Bedrock model customization from Apache Airflow."
    )
    parser.add_argument("command", choices=_COMMANDS, help=_command_help(), metavar="command")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see: airflow-bedrock <command> --help")
    parsed = parser.parse_args(argv)
    module = importlib.import_module(_COMMANDS[parsed.command][0])
    subparser = argparse.ArgumentParser(prog=f"airflow-bedrock {parsed.command}", description=module.__doc__)
    module.add_arguments(subparser)
    code: int = module.run(subparser.parse_args(parsed.arguments))
    return code


def _command_help() -> str:
    return "; ".join(f"{name}: {explanation}" for name, (_, explanation) in _COMMANDS.items())
