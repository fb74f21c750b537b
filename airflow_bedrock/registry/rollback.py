"""Roll back: put an earlier model of a line in place of the one that serves, which is not promoted again."""

from __future__ import annotations

import argparse
import getpass
import os

from airflow_bedrock.cli import results, seconds
from airflow_bedrock.registry.models import add_registry, connect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", help="the name of the line of models, and of its deployment")
    parser.add_argument(
        "--to", metavar="MODEL_ARN", help="ARN of the model to put back (default: the latest one that was not rejected)"
    )
    parser.add_argument("--by", default=_user(), help="user to record in the registry (default: %(default)s)")
    parser.add_argument("--delay", type=seconds, default=10, help="seconds between two polls (default: %(default)s)")
    add_registry(parser)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user id may have no name
        return f"uid {os.getuid()}"


def run(arguments: argparse.Namespace) -> int:
    """Roll back, print what serves, and return the exit code."""
    register = connect(arguments).roll_back(
        arguments.name, by=arguments.by, model_arn=arguments.to, delay=arguments.delay
    )
    model_arn = register.champion and register.champion.model_arn
    results().write(f"{model_arn} serves as {register.name}, by deployment {register.deployment_arn}\n")
    return 0
