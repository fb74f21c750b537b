"""Local Bedrock and a private Airflow, as processes that end with the program that started them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # it has no types

from scripts.airflow_api import AirflowApi, connect
from scripts.until import LateError, until

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
START_SECONDS = 300  # a start takes 30 s on an idle laptop
STOP_SECONDS = 15

# Airflow imports its local settings in every process. What runs a task or reads a DAG file is a fork of these two, and
# finds in memory what it would import each time. What is imported is never garbage: with the default threshold the
# collector reads through it again and again, and once more at the end, for two fifths of the CPU that a start costs.
LOCAL_SETTINGS = """\
import atexit
import gc
import sys

gc.set_threshold(100_000, 50, 100)
atexit.register(gc.freeze)
if {"scheduler", "dag-processor"} & set(sys.argv):
    import airflow.sdk.execution_time.task_runner
    import airflow_bedrock.hooks.bedrock
    import airflow_bedrock.jobs.submission
    import airflow_bedrock.jobs.waiting
    import airflow_bedrock.operators.customization
    import airflow_bedrock.sensors.customization
"""


class StartError(RuntimeError):
    """A server ended while it was starting, or did not respond in time."""


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_taken(port: int) -> bool:
    """Whether somebody listens on a loopback port at this moment."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in its own process group, with its output in ``log``; leave nothing of the group behind."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=dict(environment), cwd=PROJECT, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield child
        finally:
            # A task's process has a group of its own, which the signals to its worker's group do not reach.
            below = _descendants(child.pid)
            _end_group(child)
            for process in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _end_group(child: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            child.poll()  # a leader that is not reaped still counts as a member
            try:
                os.killpg(child.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers.

    :raises StartError: it ended instead, or did not answer within START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).is_success:
                return
        time.sleep(0.3)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise StartError(f"Nothing answered at {url}. The end of {log}:\n{tail}")


@contextlib.contextmanager
def local_bedrock(home: Path, *arguments: str, port: int | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Run Local Bedrock with its state below ``home``; yield its URL and the environment that it says to export."""
    port = port or free_port()
    log = home / "local-bedrock.log"
    program = os.environ.get("AIRFLOW_BEDROCK_LOCAL", f"{shlex.quote(str(BIN / 'airflow-bedrock'))} local")
    command = [*shlex.split(program), "--port", str(port), "--state", str(home / "state"), *arguments]
    with process(command, os.environ, log) as child:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/_local/health", child, log)
        yield url, {"AIRFLOW__BEDROCK__POLL_INTERVAL": "2", **_exports(log)}


def _exports(log: Path) -> dict[str, str]:
    """Return the environment that Local Bedrock announces; it answers a moment before it does so."""
    until(lambda: "listens on" in log.read_text(), "Local Bedrock announces where it listens", START_SECONDS)
    words = [shlex.split(line) for line in log.read_text().splitlines() if line.startswith("export ")]
    return dict(word.split("=", 1) for _, word in words)


# Airflow may take a task for failed that is deferred for less than a round of its scheduler, as it is for a short job.
# A retry takes up the same job.
SHORT_DEFERRALS = {"AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "2", "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2"}


class Airflow:
    """A private Airflow: its home, its database and, while it runs, a client of its API.

    :param home: the Airflow home; everything that Airflow writes lies below it.
    :param environment: what the tasks need to reach AWS or Local Bedrock.
    :param dags: the folder with the DAG files.
    :param people: the ids of its users, of whom the first one is this program; without any, all may do everything.
    :param settings: what its processes import beside LOCAL_SETTINGS: lines of Python.
    """

    api: AirflowApi

    def __init__(
        self,
        home: Path,
        environment: Mapping[str, str],
        *,
        port: int | None = None,
        dags: Path,
        people: Sequence[str] = (),
        settings: str = "",
    ) -> None:
        self.home, self._people, self._settings = home, people, LOCAL_SETTINGS + settings
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            # SQLite takes one writer at a time; the default gives up after 5 s of waiting for another one.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # On a busy laptop the first answers of the API server take longer than the 5 s after which a task fails.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            # The default forks 32 workers.
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": str(not people),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:admin" for name in people),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            # The default is every interface.
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            # Airflow 3.0 starts four, and again and again those that do not answer within 5 s of their start.
            "AIRFLOW__API__WORKERS": "1",
            # The port in the address changes with each start, which would make this another deployment of Airflow.
            "AIRFLOW__BEDROCK__ENVIRONMENT": "laptop",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(free_port()),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            # A file that is changed is read at once; the default is to read all of them twice a minute.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **environment,
        }

    @property
    def has_database(self) -> bool:
        """Whether an earlier run has made the database."""
        return (self.home / "airflow.db").exists()

    def migrate(self) -> None:
        """Make the database, or bring it up to this version of Airflow; standalone() does so itself."""
        self._make_home()
        self.run("db", "migrate")

    def run(self, *words: str) -> str:
        """Run a command of Airflow's command line, and return what it prints.

        :raises StartError: it fails.
        """
        program = [str(BIN / "airflow"), *words]
        done = subprocess.run(program, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartError(f"{shlex.join(program)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def _make_home(self) -> None:
        (self.home / "config").mkdir(parents=True, exist_ok=True)
        (self.home / "config" / "airflow_local_settings.py").write_text(self._settings)
        (self.home / "passwords.json").write_text(json.dumps({name: name for name in self._people}))

    @contextlib.contextmanager
    def standalone(self) -> Iterator[subprocess.Popen[bytes]]:
        """Make or upgrade the database; run scheduler, triggerer, DAG processor and API server until the block ends."""
        self._make_home()
        log = self.home / "standalone.log"
        with process([str(BIN / "airflow"), "standalone"], self.environment, log) as child, self.connected(child, log):
            yield child

    @contextlib.contextmanager
    def connected(self, api_server: subprocess.Popen[bytes], log: Path) -> Iterator[None]:
        """Wait until the API server answers, and sign in until the block ends.

        :raises StartError: it does not answer.
        """
        wait_for(f"{self.url}/api/v2/monitor/health", api_server, log)
        name = self._people[0] if self._people else None
        with connect(self.url, name, password=name) as self.api:
            yield


def exit_code(play: Callable[[], int], *, interrupted: int = 130) -> int:
    """Run what starts servers, until it ends or Ctrl-C ends it; return the program's exit code."""
    try:
        with _interruptible():
            return play()
    except KeyboardInterrupt:
        print("\nStopped; nothing was left running.")
        return interrupted
    except httpx.HTTPStatusError as error:  # Airflow refuses values of the form, for example
        print(f"{error.request.url.path} returned HTTP {error.response.status_code}: {error.response.text}")
        return 1
    except (StartError, LateError, OSError, OverflowError) as error:  # the last two: of a path, and of a port
        print(error)
        return 1


@contextlib.contextmanager
def home_or_temporary(home: Path | None, prefix: str) -> Iterator[Path]:
    """Yield the requested directory, or a temporary one, which is deleted afterwards."""
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
        yield home
        return
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, through each ``finally``."""

    def stop(signum: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(signum).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
