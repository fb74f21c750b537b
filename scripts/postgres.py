"""A PostgreSQL server of one's own, from the system's binaries, in a directory that is removed afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.stack import StartError, free_port

OWNER = "postgres"  # initdb refuses root


class NotInstalledError(StartError):
    """PostgreSQL is not on this machine."""


def binaries() -> Path:
    """Return the folder with PostgreSQL's programs.

    :raises NotInstalledError: PostgreSQL is not on this machine.
    """
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for folder in reversed(folders):
        if (folder / "initdb").exists():
            return folder
    raise NotInstalledError("PostgreSQL is not installed (Debian: apt-get install postgresql)")


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server on a free port of 127.0.0.1 and yield SQLAlchemy's URL of an empty database.

    :raises NotInstalledError: PostgreSQL is not on this machine.
    :raises StartError: it does not start.
    """
    programs = binaries()
    as_owner = ["runuser", "-u", OWNER, "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="airflow-bedrock-postgres-") as folder:
        if as_owner:
            shutil.chown(folder, OWNER)
        data, port = Path(folder) / "data", free_port()

        def run(program: str, *arguments: str) -> None:
            with (Path(folder) / "output").open("w+") as output:  # a pipe would stay open in the server
                command = [*as_owner, str(programs / program), *arguments]
                done = subprocess.run(command, cwd="/", stdout=output, stderr=output, check=False)
                output.seek(0)
                if done.returncode:
                    raise StartError(f"{program} failed: {output.read()}")

        run("initdb", "-D", str(data), "-A", "trust", "-U", "airflow", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
        try:
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
