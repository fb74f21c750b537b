"""Managed Airflow 3.0.6, the oldest Airflow that is supported: what its image pins, and the package in it."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts import compat
from scripts.tables import END

if TYPE_CHECKING:
    from tests.packaging.conftest import Run

MANAGED = compat.ROWS[0]
AIRFLOW = {"apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk"}  # the image's own, which it does not pin


@pytest.fixture(scope="module")
def project(checkout: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    return loaded


def pinned(file: Path | None) -> dict[str, Version]:
    """Return the versions that a file of pins names."""
    assert file is not None
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\n]+)", file.read_text(), flags=re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def test_the_lock_is_what_the_image_pins() -> None:
    """Where the image pins a package, the environment that is tested has that version."""
    pins, lock = pinned(MANAGED.pins), pinned(MANAGED.lock)
    assert len(lock) > 150
    assert {name: version for name, version in lock.items() if pins.get(name, version) != version} == {}
    assert len(lock.keys() & pins.keys()) > 130


def test_every_extra_fits_the_image(project: dict[str, Any]) -> None:
    """All that the package requires, and its extras but Local Bedrock, are satisfied by the lock."""
    lock = pinned(MANAGED.lock)
    extras = [project["optional-dependencies"][extra] for extra in compat.user_extras()]
    required = [Requirement(each) for group in (project["dependencies"], *extras) for each in group]
    missing = [
        str(one)
        for one in required
        if one.name != project["name"] and not one.specifier.contains(lock.get(canonicalize_name(one.name), "0"))
    ]
    assert missing == []


def test_no_floor_is_lower_than_what_is_tested(project: dict[str, Any]) -> None:
    """What the package requires at least is what managed Airflow 3.0.6 has."""
    lock = pinned(MANAGED.lock)
    for one in map(Requirement, project["dependencies"]):
        (floor,) = (Version(part.version) for part in one.specifier if part.operator == ">=")
        assert floor == Version(".".join(map(str, lock[canonicalize_name(one.name)].release[: len(floor.release)])))


@pytest.mark.parametrize("row", [row for row in compat.ROWS if row.pins], ids=lambda row: row.name)
def test_the_pins_name_their_source(row: compat.Row) -> None:
    """Source and date; and none is an address."""
    assert row.pins is not None
    first, *pins = row.pins.read_text().splitlines()
    assert re.search(r"aws/amazon-mwaa-docker-images, 20\d\d-\d\d-\d\d", first)
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==\S+", line)] == []


def test_it_installs_imports_and_parses(wheel: Path) -> None:
    """The wheel, without anything being resolved: every public name, and the example DAGs."""
    if compat.interpreter(MANAGED.python) is None:
        pytest.skip(f"there is no Python {MANAGED.python} here; PYTHON312 may name one")
    compat.make_environment(MANAGED, wheel)
    assert re.fullmatch(r"\d\d+ names, \d+ ms", compat.import_names(MANAGED))
    assert re.fullmatch(r"\d+ DAGs?, \d+ ms", compat.parse_dags(MANAGED))


def test_its_requirements_need_no_index(run: Run, wheel: Path, checkout: Path, tmp_path: Path) -> None:
    """deploy/mwaa/requirements.txt, with the wheel where plugins.zip was unpacked, in what the image has."""
    if compat.interpreter(MANAGED.python) is None:
        pytest.skip(f"there is no Python {MANAGED.python} here; PYTHON312 may name one")
    compat.make_environment(MANAGED, wheel)
    text = (checkout / "deploy" / "mwaa" / "requirements.txt").read_text()
    (tmp_path / "requirements.txt").write_text(text.replace("/usr/local/airflow/plugins", str(wheel.parent)))
    pip = [sys.executable, "-m", "pip", "--python", MANAGED.bin / "python", "install", "--no-index", "--dry-run"]
    told = run(
        *(*pip, "--force-reinstall", "--no-deps", "-r", tmp_path / "requirements.txt"),
        env={"AIRFLOW_CONSTRAINTS_FILE": str(MANAGED.pins)},
    )
    assert told.stdout.splitlines()[-1].startswith("Would install airflow-bedrock-")
    told = run(*pip, "-r", tmp_path / "requirements.txt", env={"AIRFLOW_CONSTRAINTS_FILE": str(MANAGED.pins)})
    assert "Would install" not in told.stdout  # so that all that it requires is there


def test_the_page_has_a_row_for_what_was_run(checkout: Path) -> None:
    """A row of the table is that of an environment that is there, with when and which commit."""
    written = compat.rows(replace(compat.TABLE, page=checkout / "docs" / "compatibility.md"))
    assert {name for name, _ in written} <= {row.name for row in compat.ROWS}
    assert all(re.search(r"\| 20\d\d-\d\d-\d\d \d\d:\d\d UTC, [0-9a-f]{10}\+? \|$", line) for line in written.values())


def test_a_result_is_written_beside_the_others(tmp_path: Path) -> None:
    """In the order of the rows; one that could not run says why, and has no other line then."""
    table = replace(compat.TABLE, page=tmp_path / "page.md")
    table.page.write_text(f"before\n{table.begin}\n{END}\nafter\n")
    for row in reversed(compat.ROWS):
        for suite in ("unit", "live"):
            compat.write(compat.Result(row, suite, {"failed": "NO: why | so"}), table)
    written = compat.rows(table)
    assert list(written) == [(row.name, suite) for row in compat.ROWS for suite in ("unit", "live")]
    assert "| NO: why / so |" in written[MANAGED.name, "unit"]
    compat.write(compat.Result(MANAGED, cells={"resolved": "NO"}), table)
    assert [suite for name, suite in compat.rows(table) if name == MANAGED.name] == [""]
    compat.write(compat.Result(MANAGED, "unit"), table)
    assert [suite for name, suite in compat.rows(table) if name == MANAGED.name] == ["unit"]
    assert table.page.read_text().startswith("before\n")
    assert table.page.read_text().endswith("\nafter\n")
