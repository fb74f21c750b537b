"""The Makefile's promises: targets are listed, a broken environment is made again, what is installed is pinned."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.packaging.conftest import Run

TARGETS = [
    "help",
    "demo",
    "ui",
    "test",
    "suite",
    "quick",
    "test-compat",
    "live",
    "mutants",
    "lint",
    "docs",
    "bench",
    "lock",
    "wheel",
    "release",
    "clean",
]


def test_help_lists_every_target(run: Run, checkout: Path) -> None:
    """`make`, like `make help`, says of each public target in a sentence what it does."""
    told = dict(re.findall(r"^  make ([\w-]+) +(\S.*\.)$", run("make", cwd=checkout).stdout, flags=re.MULTILINE))
    (public,) = re.findall(r"^\.PHONY: (.*)$", (checkout / "Makefile").read_text(), flags=re.MULTILINE)
    assert list(told) == public.split() == TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_can_be_made(run: Run, checkout: Path, target: str) -> None:
    """Each target's recipe parses, and every program of this checkout that it would start is there."""
    recipe = run("make", "--dry-run", target, f"PYTHON={sys.executable}", cwd=checkout).stdout
    assert recipe
    for script in re.findall(r"\bscripts/\S+", recipe):
        assert (checkout / script).is_file(), script
    for module in re.findall(r"-m ((?:scripts|benchmarks)\b\S*)", recipe):
        place = checkout / module.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module


def test_the_whole_test_fails_where_lint_does(run: Run, checkout: Path, tmp_path: Path) -> None:
    """`make test` runs lint beside the suite, and fails if either does; ARGS are pytest's."""
    shutil.copy(checkout / "Makefile", tmp_path)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for stamp in (
        "constraints.txt",
        "pyproject.toml",
        ".venv/.dependencies-installed",
        ".venv/.ready",
        ".venv/.tests-ready",
    ):
        (tmp_path / stamp).touch()
    for failing in (None, "ruff", "mypy", "python"):
        for name in ("python", "ruff", "mypy"):
            (programs / name).write_text(f"#!/bin/sh\necho {name} $*; exit {int(name == failing)}\n")
            (programs / name).chmod(0o755)
        tested = run("make", "test", "ARGS=-k losses", cwd=tmp_path, check=False)
        assert (tested.returncode == 0) == (failing is None), failing
        if failing is None:
            assert "python -m pytest -n 4" in tested.stdout
            assert "-k losses" in tested.stdout


def test_the_demo_does_not_wait_for_what_only_tests_need(run: Run, checkout: Path, tmp_path: Path) -> None:
    """The demo and the UI are installed without the largest packages, which ``make lint`` and the rest then add."""
    shutil.copy(checkout / "Makefile", tmp_path)
    shutil.copy(checkout / "constraints.txt", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho python $*\n"
        'if [ "$2" = venv ]; then mkdir -p .venv/bin; for x in python ruff mypy; do cp $0 .venv/bin/$x; done; fi\n'
        "exit 0\n"
    )
    python.chmod(0o755)
    make = ["make", f"PYTHON={python}"]
    for target, further in (("demo", ""), ("ui", ""), ("lint", "constraints.txt"), ("lint", "")):
        made = run(*make, target, cwd=tmp_path).stdout
        assert ("-r .venv/demo.txt" in made) == (target == "demo")
        assert ("-r constraints.txt" in made) == bool(further)
    everything, installed = (
        set(re.findall(r"^([a-z0-9.-]+)==", (tmp_path / file).read_text(), flags=re.MULTILINE))
        for file in ("constraints.txt", ".venv/demo.txt")
    )
    assert everything - installed == {"mypy", "playwright", "pyspark", "ruff", "uv"}
    assert len((tmp_path / ".venv/demo.txt").read_text().split("--hash=")) > len(installed)


def test_help_for_the_lock_changes_no_pin(run: Run, checkout: Path, tmp_path: Path) -> None:
    """`make lock ARGS=--help` says what it writes, and writes nothing."""
    shutil.copy(checkout / "Makefile", tmp_path)
    (tmp_path / "scripts/live").mkdir(parents=True)
    shutil.copy(checkout / "scripts/lock.sh", tmp_path / "scripts")
    pins = tmp_path / "scripts/live/requirements.txt"
    pins.write_text("kept")
    assert "--upgrade" in run("make", "lock", "ARGS=--help", "PYTHON=false", cwd=tmp_path).stdout
    assert pins.read_text() == "kept"


OLD_PYTHON = """#!/bin/sh
exec {python} -c 'import sys; sys.version_info = (3, 10, 9); sys.version = "3.10.9 (old)"; exec(sys.argv[1])' "$2"
"""


@pytest.fixture
def project(tmp_path: Path, checkout: Path) -> Path:
    """Return a project of nothing but this Makefile, with a dependency that cannot be had."""
    shutil.copy(checkout / "Makefile", tmp_path)
    (tmp_path / "constraints.txt").write_text("no-such-dependency==1 --hash=sha256:" + "0" * 64)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_a_broken_environment_is_made_anew(run: Run, project: Path) -> None:
    """An environment whose making failed half-way does not count: the next `make` begins again from nothing."""
    make = ["make", "lint", f"PYTHON={sys.executable}"]
    failed = run(*make, cwd=project, env={"PIP_NO_INDEX": "1"}, check=False)
    assert failed.returncode != 0
    assert "no-such-dependency" in failed.stderr
    assert (project / ".venv/bin/python").exists()
    again = run(*make, "--dry-run", cwd=project).stdout
    assert "rm -rf .venv" in again
    assert "-m venv .venv" in again


def test_an_old_python_is_named(run: Run, project: Path) -> None:
    """A Python that is too old is refused in a sentence that says which are supported, before anything is made."""
    old = project / "old-python"
    old.write_text(OLD_PYTHON.format(python=sys.executable))
    old.chmod(0o755)
    refused = run("make", "lint", f"PYTHON={old}", cwd=project, check=False)
    assert refused.returncode != 0
    assert f"needs Python 3.11 to 3.13; {old} is 3.10.9" in refused.stderr
    assert not (project / ".venv").exists()


@pytest.fixture(scope="module")
def constraints(checkout: Path) -> list[str]:
    """Return constraints.txt, a requirement with its hashes in each item."""
    return (checkout / "constraints.txt").read_text().replace("\\\n", "").splitlines()


def test_every_dependency_is_pinned_with_its_hashes(constraints: list[str]) -> None:
    """Each requirement has one exact version and at least one SHA-256 hash, so an install is the same everywhere."""
    pinned = re.compile(r"[a-z0-9][a-z0-9.-]*==\S+( ; [^-]+?)?( +--hash=sha256:[0-9a-f]{64})+")
    assert len(constraints) > 100
    assert [line for line in constraints if not pinned.fullmatch(line)] == []


def test_no_index_is_named(checkout: Path) -> None:
    """No URL stands in constraints.txt: which index serves the packages is each machine's own affair."""
    assert "://" not in (checkout / "constraints.txt").read_text()


def test_every_direct_dependency_is_pinned(constraints: list[str], checkout: Path) -> None:
    """Each dependency that pyproject.toml names is in constraints.txt; `make lock` was not forgotten."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    names = {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in named} - {project["name"]}
    assert names - {line.split("==")[0] for line in constraints} == set()
