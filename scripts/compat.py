"""Try the package in the environments of Airflow users: each row in a separate one, made on request.

For each row: does it resolve, do all public names import, do the example DAGs parse, do the tests pass. Local Bedrock
runs in the environment of this program, and is reached over HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

from airflow_bedrock.local.elsewhere import LocalBedrock
from scripts.live.page import commit
from scripts.stack import BIN, PROJECT
from scripts.tables import Table, line

HERE = PROJECT / "tests" / "compat"
ENVIRONMENTS = PROJECT / ".venv-compat"
COLUMNS = (
    *("row", "Python", "Airflow, amazon provider, boto3", "resolved", "imported", "parsed"),
    *("tests", "passed", "failed", "skipped", "when, commit"),
)
TABLE = Table(PROJECT / "docs" / "compatibility.md", "make test-compat", COLUMNS)
UNIT = ("customization", "evaluation", "jobs", "operators", "sensors", "triggers", "test_compat.py", "test_shapes.py")
SUITES = {
    "unit": [f"tests/unit/{name}" for name in UNIT],
    "integration": ["tests/integration", "--ignore=tests/integration/local"],
    "live": ["tests/live/test_runs.py", "tests/live/test_cluster.py"],
}

EXAMPLE = "airflow providers list, airflow dags test"  # what the row that pip makes alone runs


@dataclass(frozen=True)
class Row:
    """An environment to try.

    :param name: its name on the command line and in the table.
    :param airflow: the requirement that chooses Airflow.
    :param python: the version of Python, such as ``3.12``.
    :param pins: the constraints file, for an image whose packages are pinned.
    :param lock: the stored result of resolving it, with hashes, if any: then making it resolves nothing.
    :param alone: pip makes it, of the wheel and its extras alone; the example DAG runs in it against its Local Bedrock.
    """

    name: str
    airflow: str
    python: str
    pins: Path | None = None
    lock: Path | None = None
    alone: bool = False

    @property
    def folder(self) -> Path:
        """The environment."""
        return ENVIRONMENTS / self.name

    @property
    def bin(self) -> Path:
        """The environment's programs."""
        return self.folder / "bin"


def _managed(version: str, lock: Path | None = None) -> Row:
    return Row(f"managed-{version}", f"apache-airflow=={version}", "3.12", HERE / "pins" / f"{version}.txt", lock)


ROWS = (
    _managed("3.0.6", HERE / "requirements.txt"),
    _managed("3.2.1"),
    _managed("3.3.1"),
    *(
        Row(f"newest-{minor}-py{python}", f"apache-airflow~={minor}.0", python)
        for minor in ("3.1", "3.3")
        for python in ("3.11", "3.12", "3.13")
    ),
    Row("alone-py3.12", "apache-airflow", "3.12", alone=True),
)


@dataclass
class Result:
    """The result of a suite in a row; an empty cell was not tried, since the step before it failed.

    :param suite: the tests; empty if the row could not run any.
    """

    row: Row
    suite: str = ""
    cells: dict[str, str] = field(default_factory=dict)
    ok: bool = False

    def line(self) -> str:
        """Return the row of the table."""
        self.cells |= {"row": self.row.name, "Python": self.row.python, "tests": self.suite}
        self.cells["when, commit"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {commit()}"
        return line(*(self.cells.get(column, "") for column in COLUMNS))


class Failed(Exception):  # a step of a row; reported in its cell
    """A step failed; the message is the end of what it printed."""


def main() -> int:
    """Try the requested rows; return how many were not as they should be."""
    parser = argparse.ArgumentParser(prog="make test-compat", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", default=[ROWS[0].name], help=f"any of: {', '.join(r.name for r in ROWS)}, all"
    )
    parser.add_argument(
        "--suite", choices=SUITES, action="append", help="only these tests, which the row then says (default: all)"
    )
    arguments = parser.parse_args()
    names = {row.name for row in ROWS} | {"all"}
    if unknown := set(arguments.rows) - names:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for row in ROWS:
            if row.name in arguments.rows or "all" in arguments.rows:
                for result in try_row(row, wheel, arguments.suite or list(SUITES)):
                    wrong += not result.ok
                    print(result.line(), flush=True)
                    if not os.environ.get("CI"):
                        write(result)
    return min(wrong, 1)


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_row(row: Row, wheel: Path, suites: list[str]) -> Iterator[Result]:
    """Make the row's environment, and try the package in it: each suite in its own process."""
    result = Result(row)
    if interpreter(row.python) is None:
        result.cells["resolved"] = f"skipped: no Python {row.python} here"
        result.ok = True
        yield result
        return
    step = "resolved"
    try:
        make_environment(row, wheel)
        if not row.alone and not os.environ.get("CI"):  # CI tests the locked versions, and downloads nothing else
            resolve_as_pip_does(row, wheel)
        result.cells |= {"resolved": "yes", COLUMNS[2]: _versions(row)}
        step = "imported"
        result.cells[step] = import_names(row)
        step = "parsed"
        result.cells[step] = parse_dags(row)
    except Failed as error:
        result.cells[step] = f"NO: {error}"
        yield result
        return
    for suite in [EXAMPLE] if row.alone else suites:
        told = Result(row, suite, dict(result.cells))
        try:
            told.cells |= run_example(row) if row.alone else run_tests(row, suite)
            told.ok = told.cells["failed"] == "0"
        except Failed as error:
            told.cells["failed"] = f"NO: {error}"
        yield told


def interpreter(version: str) -> str | None:
    """Find a Python: the value of ``PYTHON312`` (for 3.12), the one on the PATH, or one of pyenv's."""
    named = os.environ.get(f"PYTHON{version.replace('.', '')}")
    candidates = [named] if named else [f"python{version}", *_from_pyenv(version)]
    works = (one for one in candidates if one and _succeeds(one, "-c", "import venv"))
    return next(works, None)


def _from_pyenv(version: str) -> Iterator[str]:
    if shutil.which("pyenv"):
        for installed in _run("pyenv", "versions", "--bare").split():
            if installed.startswith(f"{version}."):
                yield str(Path(_run("pyenv", "prefix", installed).strip(), "bin", "python"))


def make_environment(row: Row, wheel: Path) -> None:
    """Make the environment, unless it is there, and install the wheel into it."""
    if row.alone:
        shutil.rmtree(row.folder, ignore_errors=True)
        _run(interpreter(row.python), "-m", "venv", row.folder)
        _run(row.bin / "python", "-m", "pip", "install", "--quiet", f"{wheel}[{','.join([*user_extras(), 'local'])}]")
        return
    made = row.folder / ".made"
    recipe = sha256()
    for file in (row.lock or row.pins, HERE / "requirements.in", PROJECT / "pyproject.toml"):
        recipe.update(file.read_bytes() if file else b"")
    uv = [BIN / "uv", "pip", "install", "--quiet", "--python", row.bin / "python"]
    if not (made.exists() and made.read_text() == recipe.hexdigest()):
        shutil.rmtree(row.folder, ignore_errors=True)
        # Relocatable: its programs name no folder, so that it works in another checkout, too.
        _run(BIN / "uv", "venv", "--quiet", "--relocatable", "--python", interpreter(row.python), row.folder)
        if row.lock:
            _run(*uv, "--require-hashes", "--no-deps", "--requirement", row.lock)
        else:
            pins = ["--constraint", row.pins] if row.pins else []
            extras = f"{wheel}[{','.join(user_extras())}]"
            _run(*uv, extras, row.airflow, "--requirement", HERE / "requirements.in", *pins)
        made.write_text(recipe.hexdigest())
    _run(*uv, "--no-deps", "--reinstall", wheel)


def user_extras() -> list[str]:
    """Return the extras to install beside Airflow: all but Local Bedrock's and the developers'."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return sorted(set(project["optional-dependencies"]) - {"local", "dev"})


def resolve_as_pip_does(row: Row, wheel: Path) -> None:
    """Let pip resolve the wheel with all extras under the row's pins, as the user's own command does.

    :raises Failed: it cannot.
    """
    extras = f"{wheel}[{','.join(user_extras())}]"
    pip = [sys.executable, "-m", "pip", "--python", row.bin / "python", "--disable-pip-version-check"]
    pins = ["--constraint", row.pins] if row.pins else []
    _run(*pip, "install", "--quiet", "--dry-run", extras, row.airflow, *pins)


_IMPORT = """
import importlib, json, pkgutil, time
import airflow.sdk
began = time.perf_counter()
import airflow_bedrock.operators, airflow_bedrock.sensors
for package in (airflow_bedrock.operators, airflow_bedrock.sensors):
    [getattr(package, name) for name in package.__all__]
seconds = time.perf_counter() - began
from airflow_bedrock.get_provider_info import get_provider_info
found = 0
for kind in ("operators", "sensors", "hooks", "triggers"):
    package = importlib.import_module(f"airflow_bedrock.{kind}")
    found += len([getattr(package, name) for name in package.__all__])
for link in get_provider_info()["extra-links"]:
    pkgutil.resolve_name(link)
print(json.dumps([found, seconds]))
"""
_PARSE = """
import json, sys, time
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag
began = time.perf_counter()
bag = DagBag(sys.argv[1])  # AIRFLOW__CORE__LOAD_EXAMPLES is False
assert not bag.import_errors, bag.import_errors
print(json.dumps([len(bag.dags), time.perf_counter() - began]))
"""


def import_names(row: Row) -> str:
    """Import every public name and whatever the provider's description names; report how many and how long it takes."""
    return "{} names, {:.0f} ms".format(*_measured(row, _IMPORT))


def parse_dags(row: Row) -> str:
    """Parse the example DAGs; report how many and how long it takes."""
    return "{} DAGs, {:.0f} ms".format(*_measured(row, _PARSE, PROJECT / "dags"))


def _measured(row: Row, program: str, *arguments: Path) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as home:
        printed = _run(row.bin / "python", "-W", "ignore", "-c", program, *arguments, home=Path(home))
    count, seconds = json.loads(printed.splitlines()[-1])
    if not count:
        raise Failed("there is nothing")
    return count, seconds * 1000


def run_tests(row: Row, suite: str) -> dict[str, str]:
    """Run a suite, and return how many tests passed, failed (with their names) and were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [
            str(row.bin / "python"),
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "loadfile",
            f"--junit-xml={report}",
        ]
        # Deprecation warnings between an old Airflow and its dependencies are not ours to fix.
        for warning in ("DeprecationWarning", "FutureWarning", "UserWarning"):
            command += ["-W", f"default::{warning}"]
        command += ["-p", "no:cacheprovider"]
        command += SUITES[suite]
        local = {"AIRFLOW_BEDROCK_LOCAL": f"{BIN / 'airflow-bedrock'} local"}
        subprocess.run(command, cwd=PROJECT, env={**os.environ, **local}, check=False)
        if not report.exists():
            raise Failed("pytest did not run to its end")
        cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  # pytest has written it
    failed = [one for one in cases if one.find("failure") is not None or one.find("error") is not None]
    skipped = [one for one in cases if one.find("skipped") is not None]
    names = "".join(f"<br>{one.get('classname', '').rpartition('.')[2]}::{one.get('name')}" for one in failed)
    return {
        "passed": str(len(cases) - len(failed) - len(skipped)),
        "failed": f"{len(failed)}{names}",
        "skipped": str(len(skipped)),
    }


def run_example(row: Row) -> dict[str, str]:
    """Let Airflow list the provider, and run the example DAG to its end, by the commands that a user has.

    :raises Failed: a command failed, or the provider is not listed.
    """
    command = f"{row.bin / 'airflow-bedrock'} local"
    with (
        patch.dict(os.environ, AIRFLOW_BEDROCK_LOCAL=command),
        tempfile.TemporaryDirectory() as folder,
        LocalBedrock(job_seconds=2, deployment_seconds=0.5) as local,
    ):
        os.environ |= {**local.environment(), "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags")}
        airflow, home = row.bin / "airflow", Path(folder)
        _run(airflow, "db", "migrate", home=home)
        if "airflow-bedrock" not in _run(airflow, "providers", "list", home=home):
            raise Failed("`airflow providers list` does not have it")
        conf = json.dumps({"services": 5, "test_records": 60})
        _run(airflow, "dags", "test", "finetune_support_router", "--conf", conf, home=home)
    return {"passed": "2", "failed": "0", "skipped": "0"}


def _versions(row: Row) -> str:
    names = ("apache-airflow", "apache-airflow-providers-amazon", "boto3")
    program = f"from importlib.metadata import version; print(*map(version, {names}), sep=', ')"
    return _run(row.bin / "python", "-c", program).strip()


def rows(table: Table = TABLE) -> dict[tuple[str, str], str]:
    """Return the lines of the page's table, by row and suite."""
    cells = [(one.strip("| ").split(" | "), one) for one in table.rows()]
    return {(of[0], of[COLUMNS.index("tests")]): one for of, one in cells}


def write(result: Result, table: Table = TABLE) -> None:
    """Write a result into the page; the other lines stay, except those of a row that failed before, or fails now."""
    name = result.row.name
    known = {key: one for key, one in rows(table).items() if key[0] != name or (result.suite and key[1])}
    known[name, result.suite] = result.line()
    table.write(one for row in ROWS for key, one in known.items() if key[0] == row.name)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(*command: object, home: Path | None = None) -> str:
    """Run a program, in an Airflow home where one is given, and return what it prints.

    :raises Failed: it did not exit 0.
    """
    environment = dict(os.environ)
    if home:  # to try the installed package, this checkout is neither the working directory nor on the path
        environment |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        environment.pop("PYTHONPATH", None)
    parts = [str(part) for part in command]
    ran = subprocess.run(parts, env=environment, cwd=home, capture_output=True, text=True, check=False)
    if ran.returncode:
        lines = (ran.stderr.strip() or ran.stdout.strip()).splitlines()
        raise Failed(" ".join(lines[-3:]))
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
