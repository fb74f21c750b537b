"""An AWS connection of Airflow: as one frozen value, for worker and triggerer; and by its id, for a command."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from airflow_bedrock.compat import AirflowNotFoundException
from airflow_bedrock.hooks.bedrock import BedrockHook

# They warn that a connection in the environment is not encrypted, and that logs do not mask its short values.
_NOISE = (
    "airflow.models.crypto",
    "airflow._shared.secrets_masker",
    "airflow.sdk._shared.secrets_masker",
    "airflow.sdk.execution_time.secrets_masker",  # Airflow 3.0
)


class Connection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An AWS connection; waits with equal connections can share a poll loop."""

    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: str
    """A JSON object."""

    @classmethod
    def of(cls, *, config: Mapping[str, Any] | None, **fields: Any) -> Self:
        """Return the connection of an operator, from the parameters of its hook (``_hook_parameters``)."""
        return cls(botocore_config=json.dumps(config or {}, sort_keys=True), **fields)

    def arguments(self) -> dict[str, Any]:
        """Return it as the arguments of a trigger, as JSON types."""
        return {**msgspec.structs.asdict(self), "botocore_config": json.loads(self.botocore_config) or None}

    def bedrock(self) -> BedrockHook:
        """Make a hook for Bedrock's control plane."""
        return BedrockHook(**self.hook_parameters())

    def hook_parameters(self) -> dict[str, Any]:
        """Return it as the arguments of a hook."""
        arguments = self.arguments()
        return {"config": arguments.pop("botocore_config"), **arguments}


def export_connection(conn_id: str) -> bool:
    """Export a connection to this process's environment, for the hooks of a command; return False if it does not exist.

    Outside a task, the hooks of Airflow 3 do not read the metadata database. They warn, and use boto3's own
    credentials, which may be those of another account.
    """
    from airflow.models.connection import Connection as Stored

    for name in _NOISE:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        stored = Stored.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        return False
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = stored.as_json()
    return True
