"""The Dockerfile and the two scripts that serve it and docker-compose.yaml."""

from __future__ import annotations

import re
import stat
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

if TYPE_CHECKING:
    from tests.packaging.conftest import Run

GENERATED = {"postgres_password", "redis_password", "fernet_key", "api_secret_key", "jwt_secret", "admin_password"}


@pytest.fixture(scope="module")
def instructions(checkout: Path) -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with its arguments on one line."""
    text = re.sub(r"^#.*\n", "", (checkout / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(instruction, " ".join(arguments.split())) for instruction, arguments in lines]


def test_what_is_copied_is_there(instructions: list[tuple[str, str]], checkout: Path) -> None:
    """Each file that the build copies from the checkout exists, and .dockerignore lets just these through."""
    copied = [
        source.rstrip("/")
        for instruction, arguments in instructions
        if instruction == "COPY" and "--from=" not in arguments
        for source in arguments.split()[:-1]
        if not source.startswith("--")
    ]
    assert [source for source in copied if not (checkout / source).exists()] == []
    ignored = (checkout / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied)


def test_the_wheel_can_be_built_from_what_is_copied(
    instructions: list[tuple[str, str]], checkout: Path, run: Run, tmp_path: Path
) -> None:
    """The build stage's own command makes the wheel from the copied files alone."""
    for instruction, arguments in instructions:
        if instruction == "COPY" and "--from=" not in arguments:
            *sources, target = [each for each in arguments.split() if not each.startswith("--")]
            run("mkdir", "-p", tmp_path / target)
            run(
                "cp",
                "-R",
                *(checkout / f"{source}{'.' * source.endswith('/')}" for source in sources),
                tmp_path / target,
            )
    (built,) = [arguments for _, arguments in instructions if "pip wheel" in arguments]
    command = built.rpartition("pip wheel")[2].split()
    run(sys.executable, "-m", "pip", "wheel", *command, cwd=tmp_path)
    assert len(list((tmp_path / "dist").glob("airflow_bedrock-*.whl"))) == 1


def test_the_extras_exist(instructions: list[tuple[str, str]], checkout: Path) -> None:
    """The image installs the package with extras that pyproject.toml has, and without the developers' one."""
    ((extras,),) = [found for _, arguments in instructions if (found := re.findall(r"\.whl\)\[([a-z,]+)\]", arguments))]
    known = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) == set(known) - {"dev", "eval"}  # evaluation's former name


def test_the_image_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    """The last user that the Dockerfile names is Airflow's."""
    assert [arguments for instruction, arguments in instructions if instruction == "USER"][-1] == "airflow"


def test_only_missing_packages_are_pinned(run: Run, checkout: Path) -> None:
    """What is installed gets no pin, however its name is spelt; what is not gets its pin without the hashes."""
    constraints = (
        f"pytest_asyncio=={version('pytest-asyncio')} \\\n    --hash=sha256:00\n"
        "no-such-package==1.2.3 ; sys_platform == 'linux' \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n"
    )
    pins = run(sys.executable, checkout / "scripts/image_constraints.py", stdin=constraints).stdout
    assert pins == "no-such-package==1.2.3 ; sys_platform == 'linux'\n"


def secrets(run: Run, checkout: Path, folder: Path, **given: str) -> dict[str, str]:
    """Run the secrets script and return what it left in the folder, by file name."""
    ended = run("sh", checkout / "scripts/compose_secrets.sh", folder, env=given)
    assert ended.stdout == ended.stderr == ""
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_secrets_are_generated_once(run: Run, checkout: Path, tmp_path: Path) -> None:
    """Without settings each place gets random secrets of its own, and a second start keeps them."""
    first = secrets(run, checkout, tmp_path / "first")
    assert set(first) == GENERATED | {"sql_alchemy_conn", "broker_url"}
    assert len({first[name] for name in GENERATED}) == len(GENERATED)
    assert min(len(first[name]) for name in GENERATED) >= 43
    assert secrets(run, checkout, tmp_path / "first") == first
    other = secrets(run, checkout, tmp_path / "other")
    assert not [name for name in first if first[name] == other[name]]


def test_secrets_are_usable(run: Run, checkout: Path, tmp_path: Path) -> None:
    """The Fernet key encrypts, and the addresses of database and broker hold their passwords."""
    made = secrets(run, checkout, tmp_path)
    assert Fernet(made["fernet_key"]).encrypt(b"connection")
    assert made["sql_alchemy_conn"] == f"postgresql+psycopg2://airflow:{made['postgres_password']}@postgres/airflow"
    assert made["broker_url"] == f"redis://:{made['redis_password']}@redis:6379/0"


def test_secrets_are_not_for_everyone(run: Run, checkout: Path, tmp_path: Path) -> None:
    """Airflow's group reads every secret; another user, as Postgres runs with, reads the database's password alone."""
    made = secrets(run, checkout, tmp_path / "secrets")
    modes = {name: stat.S_IMODE((tmp_path / "secrets" / name).stat().st_mode) for name in made}
    assert modes == dict.fromkeys(made, 0o640) | {"postgres_password": 0o644}


def test_given_secrets_are_used(run: Run, checkout: Path, tmp_path: Path) -> None:
    """A secret that the settings give replaces the generated one; the others stay."""
    generated = secrets(run, checkout, tmp_path)
    chosen = secrets(run, checkout, tmp_path, AIRFLOW_ADMIN_PASSWORD="open sesame")
    assert chosen == generated | {"admin_password": "open sesame"}


def test_a_changed_database_password_is_refused(run: Run, checkout: Path, tmp_path: Path) -> None:
    """A database password that differs from the one in use stops the start, says why, and changes nothing."""
    before = secrets(run, checkout, tmp_path, POSTGRES_PASSWORD="first")
    script = checkout / "scripts/compose_secrets.sh"
    refused = run("sh", script, tmp_path, env={"POSTGRES_PASSWORD": "second"}, check=False)
    assert refused.returncode == 1
    assert "docker compose down --volumes" in refused.stderr
    assert secrets(run, checkout, tmp_path) == before


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "REDIS_PASSWORD"])
def test_a_password_must_fit_into_a_url(name: str, run: Run, checkout: Path, tmp_path: Path) -> None:
    """A password that would break the database's or the broker's address is refused, without showing it."""
    script = checkout / "scripts/compose_secrets.sh"
    refused = run("sh", script, tmp_path, env={name: "p@ss/word"}, check=False)
    assert refused.returncode == 1
    assert name in refused.stderr
    assert "p@ss/word" not in refused.stderr
