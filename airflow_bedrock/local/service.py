"""Local Bedrock as one object: start it, use it over HTTP, stop it."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, suppress
from functools import cache
from operator import attrgetter
from typing import Any, Self

from airflow_bedrock.local import moto
from airflow_bedrock.local.access import SECRET, Access, make_client
from airflow_bedrock.local.api.creation import WORK
from airflow_bedrock.local.clock import Clock, ManualClock
from airflow_bedrock.local.faults import Faults
from airflow_bedrock.local.settings import KEY, ROLE_NAME, Settings
from airflow_bedrock.local.state.bedrock import World
from airflow_bedrock.local.state.buckets import make_bucket
from airflow_bedrock.local.state.directory import StateDirectory
from airflow_bedrock.local.web.application import Application
from airflow_bedrock.local.web.guard import Guard
from airflow_bedrock.local.web.inside import ENDPOINT, answer_by
from airflow_bedrock.local.web.journal import Journal
from airflow_bedrock.local.web.server import Server

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:*", "bedrock:*", "kms:*", "lambda:InvokeFunction"],
            "Resource": "*",
        },
    ],
}


class LocalBedrock(Access):
    """An offline Amazon Bedrock (with S3, IAM and the other services of AWS, by moto) that listens on HTTP.

    ::

        with LocalBedrock(job_seconds=1) as local:
            local.client("bedrock").list_model_customization_jobs()

    Each object has its own state of Bedrock; the state of the other services is moto's, one for the whole process.

    :param host: the address to listen on; other computers cannot reach the default.
    :param port: the port; 0 for a free one.
    :param settings: those of :class:`~airflow_bedrock.local.settings.Settings`, by name.
    :raises ValueError: the value of a setting is invalid.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> None:
        self._host, self._port = host, port
        super().__init__(Settings(**settings))
        self._server: Server | None = None
        self._persistence: StateDirectory | None = None
        began = self._settings.began
        self.clock = ManualClock(began) if self._settings.clock == "manual" else Clock(self._settings.speed, began)
        self.faults = Faults(self.clock.time, _operations())
        self.calls = Journal()

    def start(self) -> Self:
        """Begin to listen, and make the bucket and the role.

        :raises OSError: the port is in use.
        :raises RuntimeError: it is already running.
        :raises StateError: the state directory cannot be read.
        """
        if self._server:
            raise RuntimeError(f"Local Bedrock is already running, at {self.endpoint_url}.")
        self._clients = _Clients(self._closing)
        self._world = World(self._settings, self._clients, self.clock, self.faults)
        self._application = Application(self._world, self.calls)
        guarded = Guard(self._application, self._host, self._settings.allow_hosts)
        self._server = Server(self._host, self._port, guarded)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104  # not bound here
        self._endpoint_url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"
        self._clients.application = self._application
        try:
            self._furnish()
            self._server.start()  # last, so that no client finds the bucket missing
        except BaseException:
            self._close()
            raise
        self._world.runner.start()
        return self

    def stop(self) -> None:
        """Stop all jobs, and close everything; do nothing if it is not running."""
        if self._server is None:
            return
        self._application.close()
        try:
            self._world.runner.pause()
            if self._persistence:
                self._persistence.stop()
        finally:
            self._close()
            self._world.runner.stop()

    def reset(self) -> None:
        """Restore the initial state: no jobs, models, calls or faults.

        In the other services (moto's state, one for the process) only the bucket and the role remain.
        """
        self._world.runner.stop()
        with self._world.lock:
            self._world.accounts.clear()
            self._world.weights.clear()
        moto.reset()
        self._make_bucket_and_role()
        if self._persistence:
            self._persistence.write_everything()
        self.faults.clear()
        self.calls.clear()
        self._world.runner.start()

    def environment(self) -> dict[str, str]:
        """Return the environment variables that make boto3, the AWS CLI and Airflow use Local Bedrock."""
        extra = {
            "endpoint_url": self.endpoint_url,
            "region_name": self._settings.region,
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }
        connection = {"conn_type": "aws", "login": KEY, "password": SECRET, "extra": extra}
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": self._settings.region,
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
            "AIRFLOW_VAR_BEDROCK_BUCKET": self.bucket,
            "AIRFLOW_VAR_BEDROCK_ROLE_ARN": self.role_arn,
            "AIRFLOW__BEDROCK__POLL_INTERVAL": f"{self._poll_interval:g}",
        }

    @property
    def _poll_interval(self) -> float:
        """Seconds of the computer between two polls of a job: about ten polls while it runs."""
        return min(60.0, max(0.1, self._settings.job_seconds / self._settings.speed / 10))

    def _furnish(self) -> None:
        """Create the initial state: the content of the state directory, the bucket, the role."""
        if self._settings.state:
            self._persistence = StateDirectory(self._settings.state, self._world, self._clients)
            started = self._persistence.restore()
            for bedrock in self._world.all():
                for kind, work in WORK.items():
                    for resource in filter(attrgetter("active"), getattr(bedrock, kind).values()):
                        self._world.runner.add(resource.arn, work(bedrock, resource), started.get(resource.arn))
            self._world.persistence = self._persistence
        self._make_bucket_and_role()
        if self._persistence:
            self._persistence.start()

    def _close(self) -> None:
        self._closing.close()
        if self._server:
            self._server.stop()
        self._server = self._endpoint_url = None
        if self._persistence:
            self._persistence.close()
        self._persistence = None

    def _make_bucket_and_role(self) -> None:
        region = self._settings.region
        make_bucket(self._clients.client("s3", region), self.bucket, region)
        iam = self._clients.client("iam", region)
        with suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=ROLE_NAME, AssumeRolePolicyDocument=json.dumps(_TRUST))
            iam.put_role_policy(RoleName=ROLE_NAME, PolicyName="CustomModels", PolicyDocument=json.dumps(_POLICY))


class _Clients:
    """The clients for Local Bedrock's calls to itself, each made once.

    :param closing: closes them at the end.
    """

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing
        self.application: Application | None = None
        self._made: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str, region: str) -> Any:
        with self._lock:
            if (service, region) not in self._made:
                assert self.application is not None  # noqa: S101  # it is given at the start
                self._made[service, region] = made = make_client(ENDPOINT, service, region)
                answer_by(made, self.application)
                self._closing.callback(made.close)
            return self._made[service, region]


@cache
def _operations() -> frozenset[str]:
    services = ("bedrock", "bedrock-runtime", "s3")
    return frozenset(name for one in services for name in moto.service_model(one).operation_names)
