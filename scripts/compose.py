"""docker-compose.yaml without a container engine: its services as processes, by its own commands and environment.

A network namespace stands for compose's network: its ports are free, and its services have their names. Each service
has a process namespace of its own, so that it dies as a whole, as a container does. What the images bring comes from
here: Airflow from this environment, PostgreSQL and Redis from the system. Only Linux has namespaces.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from scripts.postgres import as_owner, binaries, owner
from scripts.stack import BIN, PROJECT, StartError

FILE = PROJECT / "docker-compose.yaml"
LIVE = PROJECT / ".live"  # what Airflow's image has beyond this environment: the celery and fab providers
_WITHIN = "AIRFLOW_BEDROCK_WITHIN_NAMESPACES"
_PROGRAMS = ("bash", "sh", "airflow-bedrock")
_LOG_SERVERS = ("WORKER", "TRIGGER")
_POSTGRES = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200", "fsync": "off"}


def enter(module: str) -> None:
    """Start this program again, as a module, in namespaces of its own: a network, and a view of /etc/hosts.

    :raises StartError: this system gives none.
    """
    if _WITHIN in os.environ:
        _make_network()
        return
    as_somebody = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    unshare = ["unshare", *as_somebody, "--net", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        raise StartError("This system gives no namespaces of one's own: unshare --net --mount fails")
    os.environ[_WITHIN] = "yes"
    os.execvp(unshare[0], [*unshare, sys.executable, "-m", module, *sys.argv[1:]])  # noqa: S606  no shell: an argument list


def _make_network() -> None:
    names = ["localhost", *(name for one in services(Path("/")) for name in (one, f"{one}-1", f"{one}-2"))]
    hosts = Path(f"/tmp/airflow-bedrock-hosts-{os.getpid()}")  # noqa: S108  gone in a moment
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in names))
    for command in (["ip", "link", "set", "lo", "up"], ["mount", "--bind", str(hosts), "/etc/hosts"]):
        subprocess.run(command, check=True)
    hosts.unlink()


@dataclass(frozen=True)
class Service:
    """A service as the file describes it.

    :param restarts: whether it is started again when it ends.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    restarts: bool


def services(home: Path) -> dict[str, Service]:
    """Read docker-compose.yaml as a bare `docker compose up` does.

    :param home: where the volumes are.
    """
    described = _interpolated(yaml.safe_load(FILE.read_text())["services"])
    return {name: _service(one, home) for name, one in described.items()}


def _interpolated(value: Any) -> Any:
    match value:
        case dict():
            return {name: _interpolated(one) for name, one in value.items()}
        case list():
            return [_interpolated(one) for one in value]
        case str():
            return re.sub(r"\$\$|\$\{\w+:-([^}]*)\}", lambda found: "$" if found[0] == "$$" else found[1], value)
    return value


def _service(described: Mapping[str, Any], home: Path) -> Service:
    command = _words(described.get("command"))
    entrypoint = _words(described.get("entrypoint"))
    if "entrypoint" not in described and command and command[0] not in _PROGRAMS:
        command = ["airflow", *command]  # as the entrypoint of Airflow's image does
    if entrypoint[:1] == ["/usr/bin/dumb-init"]:
        entrypoint = []
    given: dict[str, str] = {}
    for name in described.get("env_file", []):
        lines = [line for line in (PROJECT / name).read_text().splitlines() if line and not line.startswith("#")]
        given |= dict(line.split("=", 1) for line in lines)
    given |= {name: str(value) for name, value in described.get("environment", {}).items()}
    return Service(
        tuple(_here(word, home) for word in [*entrypoint, *command]),
        {name: _here(value, home) for name, value in given.items()},
        described.get("restart") == "unless-stopped",
    )


def _words(value: Any) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else list(value or [])


def _here(text: str, home: Path) -> str:
    """Put the places of volumes here in place of those in a container."""
    for there, here in (
        ("/run/airflow-secrets", home / "secrets"),
        ("/var/lib/local-bedrock", home / "local-bedrock"),
        ("/compose_secrets.sh", PROJECT / "scripts" / "compose_secrets.sh"),
    ):
        text = text.replace(there, str(here))
    return text


class Containers:
    """The running services by name; one that ends by itself is started again if the file says so.

    :param home: for volumes and logs.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.services = services(home)
        self._running: dict[str, tuple[Service, subprocess.Popen[bytes]]] = {}
        self._down: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._logged: dict[str, int] = {}
        self.restarts: list[str] = []

    @contextlib.contextmanager
    def minded(self) -> Iterator[None]:
        """Restart services that end; leave nothing behind."""
        mind = threading.Thread(target=self._mind, daemon=True)
        mind.start()
        try:
            yield
        finally:
            self._ended.set()
            mind.join()
            for name in [*self._running]:
                self.kill(name)

    def run(self, name: str) -> None:
        """Run a service that ends.

        :raises StartError: it fails.
        """
        if self._start(name, self.services[name]).wait():
            raise StartError(f"{name} failed:\n{self.log(name)[-3000:]}")

    def start(self, name: str, number: int | None = None, *more: str) -> str:
        """Start a service that keeps running; return its name.

        :param number: the number of one of several. They share a network, so each has its own ports for its logs.
        :param more: arguments that the file does not have.
        """
        service = self.services[name]
        service = replace(service, command=(*(service.command or self._image_s(name)), *more))
        if number is not None:
            names = [f"AIRFLOW__LOGGING__{one}_LOG_SERVER_PORT" for one in _LOG_SERVERS]
            ports = {name: str(9000 + 10 * number + at) for at, name in enumerate(names)}
            service = replace(service, environment={**service.environment, **ports})
        name = name if number is None else f"{name}-{number}"
        self._start_again(name, service)
        return name

    def kill(self, name: str) -> None:
        """Kill a service at once, with every process in it; it stays down."""
        with self._lock:
            self._down.add(name)
            _, process = self._running[name]
            process.kill()  # its namespace's first process dies with it, and so all of them
            process.wait()

    def start_killed(self, name: str) -> None:
        """Start what was killed."""
        self._start_again(name, self._running[name][0])

    def log(self, name: str) -> str:
        """Return what a service has written since its last start."""
        written = (self.home / "logs" / f"{name}.log").read_bytes()
        return written[self._logged[name] :].decode(errors="replace")

    def _start_again(self, name: str, service: Service) -> None:
        with self._lock:
            self._running[name] = (service, self._start(name, service))
            self._down.discard(name)

    def _mind(self) -> None:
        while not self._ended.wait(1):
            for name, (service, process) in [*self._running.items()]:
                if process.poll() is not None and name not in self._down and service.restarts:
                    self.restarts.append(name)
                    self._start_again(name, service)

    def _start(self, name: str, service: Service) -> subprocess.Popen[bytes]:
        folder = self.home / "work" / name
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": f"{LIVE / 'bin'}:{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": f"{PROJECT}:{LIVE}",
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "HOSTNAME": name,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            **service.environment,
        }
        # The shell stands for the image's dumb-init: it waits for processes that have lost their parent.
        within = ["sh", "-c", 'hostname "$0" && "$@" & wait $!', name, *service.command]
        isolated = ["unshare", "--pid", "--fork", "--kill-child", "--uts", "--mount", "--mount-proc"]
        log = self.home / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            self._logged[name] = output.tell()
            return subprocess.Popen(
                [*isolated, *within], env=environment, cwd=folder, stdout=output, stderr=output, start_new_session=True
            )

    def _image_s(self, name: str) -> tuple[str, ...]:
        """Return the command of an image if the file has none: PostgreSQL's."""
        if name != "postgres":
            raise StartError(f"{FILE.name} says no command for {name}")
        settings = [word for option, value in _POSTGRES.items() for word in ("-c", f"{option}={value}")]
        return (*as_owner(), str(binaries() / "postgres"), "-D", str(self.home / "database"), *settings)

    def make_database(self) -> None:
        """Do what PostgreSQL's image does at its first start."""
        database, described = self.home / "database", self.services["postgres"].environment
        database.mkdir()
        if as_owner():
            shutil.chown(database, owner())
        options = ["-U", described["POSTGRES_USER"], "--pwfile", described["POSTGRES_PASSWORD_FILE"], "--no-sync"]
        done = subprocess.run(
            [*as_owner(), str(binaries() / "initdb"), "-D", str(database), "-A", "scram-sha-256", *options],
            cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StartError(f"initdb failed: {done.stderr}")
        single = [*as_owner(), str(binaries() / "postgres"), "--single", "-D", str(database), "postgres"]
        made = f"CREATE DATABASE {described['POSTGRES_DB']}\n"
        subprocess.run(single, input=made, cwd="/", capture_output=True, text=True, check=True)
