"""List the lines of models in the registry: which model serves, since when, who promoted it, and which served before.

The deployment itself says which model serves; the registry says why.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import msgspec

from airflow_bedrock.cli import add_connection, add_format, results, table
from airflow_bedrock.hooks.registry import BedrockModelRegistryHook
from airflow_bedrock.registry.register import ModelVersion, Register

_HEADER = ("LINE", "STATE", "PERIOD", "SINCE", "PROMOTED BY", "APPROVED BY", "MODEL")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--name", help="name of one line of models (default: all)")
    add_format(parser)
    add_registry(parser)


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the registry."""
    parser.add_argument(
        "--registry", metavar="S3_URI", help="the S3 prefix of the registry (default: [bedrock] registry_uri)"
    )
    add_connection(parser, "the deployments")


def connect(arguments: argparse.Namespace) -> BedrockModelRegistryHook:
    """Return the hook for these options."""
    return BedrockModelRegistryHook(
        aws_conn_id=arguments.aws_conn_id, region_name=arguments.region, registry_uri=arguments.registry
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the lines, and return the exit code."""
    registry = connect(arguments)
    lines = [described(registry, name) for name in ([arguments.name] if arguments.name else registry.names())]
    if arguments.format == "json":
        results().write(f"{json.dumps(lines, indent=2)}\n")
    else:
        results().write(table(_HEADER, [row for line in lines for row in _rows(line)]))
    return 0


def described(registry: BedrockModelRegistryHook, name: str) -> dict[str, Any]:
    """Return a line as JSON types."""
    register = registry.get(name)
    serving = registry.serving(register, delay=0, max_polls=1)
    return {
        "name": name,
        "deployment_arn": register.deployment_arn,
        "serving": serving,
        "state": _state(register, serving),
        "versions": [_version(register, one) for one in (*reversed(register.serving), *register.previous)],
    }


def _version(register: Register, version: ModelVersion) -> dict[str, Any]:
    role = "before"
    if register.promotion and version is register.promotion.version:
        role = "promotion in progress"
    elif register.champion and version is register.champion:
        role = "champion"
    elif version.model_arn in register.retired:
        role = "retired"
    elif version.model_arn in register.rejected:
        role = "rejected"
    return {"role": role, **msgspec.to_builtins(version)}


def _state(register: Register, serving: str | None) -> str:
    if serving is None:
        return "nothing serves"
    if register.champion and register.champion.model_arn == serving:
        return "champion serves"
    if register.promotion and register.promotion.version.model_arn == serving:
        return "promotion in progress"
    return f"{serving} serves, but not by this registry"


def _rows(line: dict[str, Any]) -> list[list[str]]:
    members = ("role", "period", "promoted_at", "promoted_by", "approved_by", "model_arn")
    found = [[line["name"], *(str(one.get(member) or "") for member in members)] for one in line["versions"]]
    if line["state"] not in ("champion serves", "promotion in progress"):
        found.append([line["name"], line["state"], "", "", "", "", line["serving"] or ""])
    return found
