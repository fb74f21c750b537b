"""What a release needs short of the account: checked metadata, builds that repeat, a bill of materials, a workflow."""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from airflow_bedrock import __version__, operators, sensors
from airflow_bedrock.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from tests.packaging.conftest import Run


def test_the_index_takes_the_metadata(run: Run, dist: Path) -> None:
    """`twine check --strict`: metadata and long description, of wheel and source distribution."""
    told = run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir(), env={"NO_COLOR": "1"}).stdout
    assert told.count("PASSED") == 2


def test_a_build_is_repeated_byte_for_byte(run: Run, dist: Path, tmp_path: Path) -> None:
    """From the source distribution, elsewhere, later, with other rights on the files: the same two files come out."""
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    for file in unpacked.rglob("*"):
        os.utime(file, (1, 1))
        file.chmod(0o700 if file.stat().st_mode & 0o100 else 0o600)
    again = tmp_path / "again"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", again, unpacked)
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in dist.iterdir()
    }


def test_the_bill_of_materials_names_what_is_installed_beside_it(run: Run, checkout: Path, tmp_path: Path) -> None:
    """Airflow, boto3 and what they need, in the versions that are tested; nothing that only developers need."""
    run(sys.executable, "-m", "scripts.sbom", tmp_path / "sbom.json", cwd=checkout)
    bill: dict[str, Any] = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (
        "airflow-bedrock",
        __version__,
    )
    found = {one["name"]: one["version"] for one in bill["components"]}
    needed = ("apache-airflow", "apache-airflow-core", "boto3", "botocore", "aiobotocore", "msgspec", "pydantic")
    assert {name: found[name] for name in needed} == {name: version(name) for name in needed}
    assert not found.keys() & {"pytest", "mypy", "moto", "twine"}


@pytest.fixture(scope="module")
def workflow(checkout: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((checkout / ".github/workflows/release.yml").read_text())
    return loaded


def test_only_a_tag_releases(workflow: dict[Any, Any], checkout: Path) -> None:
    """A pushed tag alone starts it; the tag has to be the version; what it makes is a target of the Makefile."""
    assert workflow[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}  # YAML 1.1 reads "on" as true
    commands = [step["run"] for step in workflow["jobs"]["build"]["steps"] if "run" in step]
    assert any("GITHUB_REF_NAME" in command for command in commands)
    (target,) = re.findall(r"make (\S+)", " ".join(commands))
    assert f"\n{target}:" in (checkout / "Makefile").read_text()


def test_the_tag_is_compared_with_the_version(run: Run, workflow: dict[Any, Any], checkout: Path) -> None:
    """The workflow's own command, run here: it takes the tag of this version, and no other."""
    (compare,) = [
        step["run"] for step in workflow["jobs"]["build"]["steps"] if "GITHUB_REF_NAME" in step.get("run", "")
    ]
    run("sh", "-ec", compare, cwd=checkout, env={"GITHUB_REF_NAME": f"v{__version__}"})
    assert run("sh", "-ec", compare, cwd=checkout, env={"GITHUB_REF_NAME": "v9.9.9"}, check=False).returncode == 1


def test_nothing_but_publishing_has_rights(workflow: dict[Any, Any], checkout: Path) -> None:
    """There is no secret; the identity is the publishing job's, which runs no code of this repository."""
    assert workflow["permissions"] == {"contents": "read"}
    assert {name: job.get("permissions") for name, job in workflow["jobs"].items()} == {
        "build": None,
        "publish": {"id-token": "write"},
    }
    assert "secrets." not in (checkout / ".github/workflows/release.yml").read_text()
    assert not [step for step in workflow["jobs"]["publish"]["steps"] if "checkout" in step.get("uses", "")]


def test_each_action_is_named_by_its_commit(workflow: dict[Any, Any]) -> None:
    """A tag can be moved to other code, a commit cannot."""
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert len(used) >= 5
    assert [one for one in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", one)] == []


def test_the_provider_registry_lists_what_exists(checkout: Path) -> None:
    """Each operator and sensor in the provider registry exists, and says what it does."""
    registry: dict[str, Any] = yaml.safe_load((checkout / ".airflow-registry.yaml").read_text())
    assert registry["package-name"] == get_provider_info()["package-name"]
    assert registry["display-name"] == get_provider_info()["name"]
    for entry in [*registry["operators"], *registry["other"]]:
        assert resolve_name(entry["module"].replace(".Bedrock", ":Bedrock")).__doc__
        assert entry["description"]
    told = {entry["module"].rpartition(".")[2] for entry in [*registry["operators"], *registry["other"]]}
    assert told == {*operators.__all__, *sensors.__all__}
