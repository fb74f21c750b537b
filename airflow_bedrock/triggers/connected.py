"""What the triggers have in common: an AWS connection, which travels with them to the triggerer."""

from __future__ import annotations

from typing import Any

from airflow.triggers.base import BaseTrigger

from airflow_bedrock.jobs.connection import Connection


class BedrockTrigger(BaseTrigger):
    """A trigger that asks Bedrock through an AWS connection of Airflow.

    :param aws_conn_id: the Airflow connection used for AWS credentials.
    :param region_name: the AWS region; by default the connection's.
    :param verify: whether to verify TLS certificates, or the path of a CA bundle.
    :param botocore_config: configuration for the botocore client.
    """

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        self.connection = Connection.of(
            aws_conn_id=aws_conn_id, region_name=region_name, verify=verify, config=botocore_config
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments from which a triggerer makes this trigger again."""
        arguments = {**self._own_arguments(), **self.connection.arguments()}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    def _own_arguments(self) -> dict[str, Any]:
        """Return the arguments beside those of the connection, in what JSON can say."""
        raise NotImplementedError
