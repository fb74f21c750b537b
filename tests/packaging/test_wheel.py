"""The distributions: what is in them, and that the wheel works where nothing of this checkout is."""

from __future__ import annotations

import json
import re
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_bedrock import __version__

if TYPE_CHECKING:
    from tests.packaging.conftest import Run


@pytest.fixture(scope="session")
def members(wheel: Path) -> list[str]:
    """Return the names of the files in the wheel."""
    return zipfile.ZipFile(wheel).namelist()


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    """Return the wheel's core metadata."""
    text = zipfile.ZipFile(wheel).read(f"airflow_bedrock-{__version__}.dist-info/METADATA").decode()
    return HeaderParser().parsestr(text)


def tracked(checkout: Path, run: Run, *paths: str) -> set[str]:
    """Return the files below the given paths that git tracks and that are there."""
    listed = run("git", "ls-files", "--", *paths, cwd=checkout).stdout.split()
    return {each for each in listed if (checkout / each).is_file()}


def test_the_wheel_holds_the_whole_package(members: list[str], checkout: Path, run: Run) -> None:
    """Every file of the package is in the wheel, its data files and `py.typed` too."""
    assert "airflow_bedrock/py.typed" in members
    assert tracked(checkout, run, "airflow_bedrock") <= set(members)


def test_the_wheel_holds_nothing_else(members: list[str]) -> None:
    """Beside the package there is its metadata alone: no tests, no DAGs, no caches."""
    assert {name.split("/")[0] for name in members} == {"airflow_bedrock", f"airflow_bedrock-{__version__}.dist-info"}
    assert not [name for name in members if "__pycache__" in name or "/test" in name]


def test_the_licence_goes_along(members: list[str], metadata: Message) -> None:
    """The wheel carries the Apache licence and says so."""
    assert f"airflow_bedrock-{__version__}.dist-info/licenses/LICENSE" in members
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_metadata_says_what_it_is(metadata: Message) -> None:
    """Name, version, extras and classifiers are those by which Airflow users and type checkers find a provider."""
    assert (metadata["Name"], metadata["Version"]) == ("airflow-bedrock", __version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"local", "prep", "eval", "evaluation", "dev"}
    assert set(metadata.get_all("Classifier", [])) >= {
        "Framework :: Apache Airflow",
        "Framework :: Apache Airflow :: Provider",
        "Typing :: Typed",
    }


def test_the_source_distribution_is_whole(dist: Path, checkout: Path, run: Run) -> None:
    """The source distribution holds the package, its example DAGs, its tests and its licence."""
    (built,) = dist.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert (
        tracked(checkout, run, "airflow_bedrock", "dags", "tests") | {"LICENSE", "README.md", "pyproject.toml"} <= names
    )


@pytest.fixture(scope="session")
def clean(run: Run, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new virtual environment and return the environment's folder of programs.

    The dependencies are this environment's own, by a path file; the path files among them are not followed, so the
    editable install of this checkout is out of reach.
    """
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def test_the_wheel_is_what_is_imported(run: Run, clean: Path) -> None:
    """In the new environment the package comes from the wheel, and the operator can be imported."""
    program = (
        "import airflow_bedrock; from airflow_bedrock.operators import BedrockModelCustomizationOperator; "
        "print(airflow_bedrock.__file__)"
    )
    imported = Path(run(clean / "python", "-c", program).stdout.strip())
    assert imported.is_relative_to(clean.parent)


def test_airflow_finds_the_wheel(run: Run, clean: Path) -> None:
    """Airflow in the new environment lists the package as a provider."""
    listed = json.loads(run(clean / "python", "-m", "airflow", "providers", "list", "--output", "json").stdout)
    assert [each["version"] for each in listed if each["package_name"] == "airflow-bedrock"] == [__version__]


def test_the_wheel_brings_the_command(run: Run, clean: Path) -> None:
    """`airflow-bedrock` is installed and lists its subcommands."""
    assert "local" in run(clean / "airflow-bedrock", "--help").stdout


SUPPORT_ROUTER = """
import boto3, json
from airflow.sdk import DAG, Variable, task
from airflow_bedrock.operators import BedrockModelCustomizationOperator

def record(number):
    turns = [("user", f"number {number}"), ("assistant", "even" if number % 2 == 0 else "odd")]
    messages = [{"role": role, "content": [{"text": text}]} for role, text in turns]
    return json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": messages})

with DAG("support_router") as dag:
    @task
    def data():
        lines = "\\n".join(record(number) for number in range(20))
        boto3.client("s3").put_object(Bucket=Variable.get("bedrock_bucket"), Key="train.jsonl", Body=lines.encode())

    data() >> BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="support-router",
        custom_model_name="support-router",
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri="s3://{{ var.value.bedrock_bucket }}/train.jsonl",
        output_data_uri="s3://{{ var.value.bedrock_bucket }}/out/",
        hyperparameters={"epochCount": "1"},
    )
"""


@pytest.mark.parametrize("first", ["", "import airflow.settings\n"], ids=["at once", "Airflow imported before"])
def test_the_documented_tests_pass(run: Run, clean: Path, checkout: Path, tmp_path: Path, first: str) -> None:
    """In the new environment, where no Airflow was ever started, the tests of docs/local-bedrock.md pass as they stand.

    They find the DAG beside them, with the documented settings, and leave the user's home alone. Where Airflow was
    imported before, the first of them is enough.
    """
    docs = (checkout / "docs/local-bedrock.md").read_text()
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", docs, flags=re.DOTALL)
    tests = [block for block in blocks if "def test_" in block][: 1 if first else None]
    (settings,) = [block for block in blocks if "[tool.pytest" in block]
    (tmp_path / "project" / "my_dags").mkdir(parents=True)
    (tmp_path / "project" / "my_dags" / "support_router.py").write_text(SUPPORT_ROUTER)
    (tmp_path / "project" / "pyproject.toml").write_text(settings)
    (tmp_path / "project" / "test_dags.py").write_text("\n\n".join([f"{first}import pytest", *tests]))
    alone = ["env", "-u", "AIRFLOW_HOME", f"HOME={tmp_path}"]
    ran = run(*alone, clean / "python", "-m", "pytest", "-q", "-p", "no:asyncio", cwd=tmp_path / "project")
    assert f"{sum(test.count('def test_') for test in tests)} passed" in ran.stdout
    assert first or not (tmp_path / "airflow").exists()
