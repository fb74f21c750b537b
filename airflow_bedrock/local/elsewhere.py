"""Local Bedrock in a separate environment, for an Airflow whose pins do not allow the extra ``local``.

The environment variable ``AIRFLOW_BEDROCK_LOCAL`` contains the command that starts it, such as
``/opt/local-bedrock/bin/airflow-bedrock local``. If it is set, ``airflow_bedrock.local.LocalBedrock`` is this class,
and the pytest fixtures use it. All communication goes over HTTP.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from typing import Any, Self

import httpx
import msgspec

from airflow_bedrock.local.access import Access
from airflow_bedrock.local.clock import Clock
from airflow_bedrock.local.faults import AnyFault, Faults, Standing
from airflow_bedrock.local.settings import Quotas, Settings
from airflow_bedrock.local.web.journal import KEPT, Call, Journal

_STOP_SECONDS = 30


class LocalBedrock(Access):
    """A Local Bedrock in another interpreter, started by the command in ``AIRFLOW_BEDROCK_LOCAL``.

    :param settings: those of :class:`~airflow_bedrock.local.settings.Settings` that the command line has too, by name.
    :raises ValueError: the value of a setting is invalid.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(Settings(**settings))
        self._command = [*shlex.split(os.environ["AIRFLOW_BEDROCK_LOCAL"]), "--port", "0", *_options(self._settings)]
        self._process: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}
        self.clock, self.faults, self.calls = _Clock(self._ask), _Faults(self._ask), _Journal(self._ask)

    def start(self) -> Self:
        """Start to listen.

        :raises RuntimeError: the command ended; its errors are on the standard error of this process.
        """
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # the user's own
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        for line in self._process.stdout:
            if line.startswith("export "):
                name, _, value = shlex.split(line)[1].partition("=")
                self._environment[name] = value
            elif "_local/" in line:  # the last line
                self._endpoint_url = self._environment["AWS_ENDPOINT_URL"]
                break
        else:
            self._process.communicate()
            raise RuntimeError(f"Local Bedrock did not start: {shlex.join(self._command)} ended {self._process.poll()}")
        self._http = httpx.Client(base_url=self.endpoint_url, timeout=None, trust_env=False)  # noqa: S113  # time may be long
        return self

    def stop(self) -> None:
        """Stop all jobs, and end the process; do nothing if it is not running."""
        if self._process is None:
            return
        self._closing.close()
        self._http.close()
        self._process.terminate()
        try:
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = self._endpoint_url = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables that make boto3, the AWS CLI and Airflow use Local Bedrock."""
        return dict(self._environment)

    def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Call the admin API.

        :raises ValueError: it rejected the request.
        """
        content = None if body is None else msgspec.json.encode(body)
        response = self._http.request(method, f"/_local/{path}", content=content)
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise ValueError(response.json()["message"])
        return response.content


Ask = Callable[..., bytes]


def _options(settings: Settings) -> Iterator[str]:
    """Return the settings that are not the default, as options of the command line."""
    default = Settings()
    for name in (one.name for one in fields(Settings)):
        value, option = getattr(settings, name), f"--{name.replace('_', '-')}"
        if value == getattr(default, name):
            continue
        if isinstance(value, Quotas):
            for quota in fields(Quotas):
                yield from ("--quota", f"{quota.name}={getattr(value, quota.name)}")
        elif isinstance(value, bool):
            yield option if value else option.replace("--", "--no-", 1)
        elif isinstance(value, (list, tuple)):
            for one in value:
                yield from ("--allow-host", one)
        else:
            yield from (option, value.isoformat() if isinstance(value, datetime) else str(value))


class _Clock(Clock):
    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    def time(self) -> float:
        shown: dict[str, datetime] = msgspec.json.decode(self._ask("GET", "clock"), type=dict[str, datetime])
        return shown["time"].timestamp()

    def advance(self, seconds: float) -> None:
        self._ask("POST", "clock", {"advance": seconds})


class _Faults(Faults):
    def __init__(self, ask: Ask) -> None:
        super().__init__(lambda: 0.0)
        self._ask = ask

    def add(self, fault: AnyFault) -> str:
        identifier: str = msgspec.json.decode(self._ask("POST", "faults", fault))["id"]
        return identifier

    def remove(self, id: str) -> bool:  # noqa: A002  # as in the base
        stood = any(one.id == id for one in self)
        self._ask("DELETE", f"faults/{id}")
        return stood

    def clear(self) -> None:
        self._ask("DELETE", "faults")

    def __iter__(self) -> Iterator[Standing]:
        return iter(msgspec.json.decode(self._ask("GET", "faults"), type=list[Standing]))


class _Journal(Journal):
    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    def clear(self) -> None:
        self._ask("DELETE", "calls")

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> list[Call]:
        return msgspec.json.decode(self._ask("GET", f"calls?after=0&limit={KEPT}"), type=list[Call])
