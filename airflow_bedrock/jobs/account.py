"""Find out the AWS account of a connection, before money is spent in the wrong one."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

from botocore.config import Config

from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.uris import Arn

log = logging.getLogger(__name__)

_QUICK = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2})  # it may be unreachable in a VPC


def check_account(hook: BedrockHook, role_arn: str) -> None:
    """Check that the role belongs to the account and the partition of the connection.

    If AWS STS does not respond, the role is not checked: Bedrock refuses a role that it cannot assume.

    :raises BedrockFatalError: it belongs to another account or partition.
    """
    try:
        caller = caller_arn(hook)
    except CALL_ERRORS as error:
        log.info(
            "Could not read the connection's account, so the account of role %s was not checked: %s", role_arn, error
        )
        return
    ours, the_role_s = _account_of(caller), _account_of(role_arn)
    if ours != the_role_s:
        raise BedrockFatalError(
            f"Connection {hook.aws_conn_id} belongs to account {ours}, but role {role_arn} belongs to account "
            f"{the_role_s}. This try made no job and spent nothing. Use a role of the connection's account, or another "
            "aws_conn_id."
        )


def caller_arn(hook: BedrockHook) -> str:
    """Return the ARN of the connection's caller. Raises botocore's ClientError or BotoCoreError."""
    with closing(client_of(hook, "sts")) as client:
        return str(client.get_caller_identity()["Arn"])


def client_of(hook: BedrockHook, service: str) -> Any:
    """Return a client of another service for the hook's connection; close it after use."""
    return hook.get_session(region_name=hook.region_name).client(  # type: ignore[call-overload]  # any of AWS's
        service,
        endpoint_url=hook.conn_config.get_service_endpoint_url(service),
        config=hook.config.merge(_QUICK),
        verify=hook.verify,
    )


def _account_of(arn: str) -> str:
    """Return the account, and its partition if that is not the public one."""
    caller = Arn.of(arn)
    return caller.account if caller.partition == "aws" else f"{caller.account} in partition {caller.partition}"
