"""How programs reach Local Bedrock, wherever it runs: its address, clients, and the environment variables to set."""

from __future__ import annotations

import os
from abc import abstractmethod
from contextlib import ExitStack
from typing import Any, Self

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config

from airflow_bedrock.local.clock import Clock
from airflow_bedrock.local.faults import Faults
from airflow_bedrock.local.settings import ACCOUNT, KEY, ROLE_NAME, Settings
from airflow_bedrock.local.web.journal import Journal

_LOADER = botocore.loaders.create_loader()
"""Reads each service's model once for all clients."""


class Access:
    """A running Local Bedrock, from the start to the end of a ``with`` statement.

    :param settings: its settings.
    """

    clock: Clock
    """The clock of jobs and deployments; ``local.clock.advance(seconds)`` advances a manual one."""

    faults: Faults
    """The injected faults."""

    calls: Journal
    """All calls, the oldest first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closing = ExitStack()
        self._endpoint_url: str | None = None

    @abstractmethod
    def start(self) -> Self:
        """Start to listen."""

    @abstractmethod
    def stop(self) -> None:
        """Stop jobs where they are, and close everything; does nothing when it is not running."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """The ``endpoint_url`` for AWS clients.

        :raises RuntimeError: it is not running.
        """
        if self._endpoint_url is None:
            raise RuntimeError("Local Bedrock is not running: call start(), or use it in a with statement.")
        return self._endpoint_url

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the environment variables that make boto3, the AWS CLI and Airflow use Local Bedrock."""

    @property
    def bucket(self) -> str:
        """The S3 bucket that exists from the start."""
        return self._settings.bucket

    @property
    def role_arn(self) -> str:
        """The service role that exists from the start."""
        return f"arn:aws:iam::{ACCOUNT}:role/{ROLE_NAME}"

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a new boto3 client of any service; Local Bedrock closes it when it stops."""
        client = make_client(self.endpoint_url, service, region or self._settings.region)
        self._closing.callback(client.close)
        return client


SECRET = "opens-nothing"  # noqa: S105
"""The secret access key. Nothing checks it, but Airflow masks it in its logs, so it must not occur in any name."""


def make_client(endpoint_url: str, service: str, region: str) -> Any:
    """Return a boto3 client for an endpoint, independent of the user's own AWS configuration."""
    # A separate session: boto3's default one is not safe to share between threads, and is the user's. It reads no
    # profile and no file, since those are for the user's AWS.
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    core.register_component("data_loader", _LOADER)
    session = boto3.session.Session(aws_access_key_id=KEY, aws_secret_access_key=SECRET, botocore_session=core)
    # Otherwise botocore prefers the user's AWS_BEARER_TOKEN_BEDROCK; since 1.44 it refuses to send that over HTTP.
    signature = "v4" if service.startswith("bedrock") else None
    return session.client(  # type: ignore[call-overload]  # the stubs know one overload a service; this takes any
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(s3={"addressing_style": "path"}, signature_version=signature),
    )
