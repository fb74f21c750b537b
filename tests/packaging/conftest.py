"""What the packaging tests share: the checkout, and ways to start this project's programs in a world of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the folder of this checkout."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs a command outside the checkout, in an Airflow home of its own, and returns it ended.

    The command fails the test where it exits other than 0, unless ``check=False`` is given.
    """
    here = tmp_path_factory.mktemp("elsewhere")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "MAKE"))}

    def run(
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path = here,
        stdin: str = "",
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=plain | {"AIRFLOW_HOME": str(here / "airflow")} | dict(env or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or ended.returncode == 0, (
            f"{ended.args} exited {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        )
        return ended

    return run


@pytest.fixture(scope="session")
def airflow() -> list[str]:
    """Return the command that starts this environment's Airflow."""
    return [sys.executable, "-m", "airflow"]


@pytest.fixture(scope="session")
def dist(run: Run, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and from it the wheel, and return the folder that holds them."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """Return the wheel."""
    (built,) = dist.glob("*.whl")
    return built
