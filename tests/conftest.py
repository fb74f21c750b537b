"""A private Airflow home and harmless AWS credentials, set before anything imports Airflow or boto3."""

from __future__ import annotations

import atexit
import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.cheap_clients import make_clients_cheap

gc.disable()  # until all is imported; see pytest_collection_finish()
_HOME = Path(tempfile.mkdtemp(prefix="airflow-bedrock-test-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "AWS_"))]:
    # Whom tests/conformance/ asks, and what starts Local Bedrock where this environment cannot.
    if not _name.startswith(("AIRFLOW_BEDROCK_CONFORMANCE", "AIRFLOW_BEDROCK_LOCAL")):
        del os.environ[_name]
os.environ.update(
    {
        "AIRFLOW_HOME": str(_HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent.parent / "dags"),
        # Nothing of the machine's own AWS set-up may be found, and nothing may be asked of a metadata service.
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
)
make_clients_cheap()
# No test measures time: one that is slow on a busy machine is not wrong.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A metadata database that knows no DAG, made once for all processes of a run; to be copied."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # a run's processes have it in common
    database = folder / "airflow.db"
    with (folder / "airflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            migrated = subprocess.run(
                [Path(sys.executable).parent / "airflow", "db", "migrate"],
                env={**os.environ, "AIRFLOW_HOME": str(folder / "airflow")},
                capture_output=True,
                text=True,
                check=False,
            )
            assert migrated.returncode == 0, migrated.stderr
            (folder / "airflow" / "airflow.db").rename(database)
    return database


@pytest.fixture(scope="session")
def airflow_database(migrated_database: Path) -> Path:
    """Airflow's metadata database, for all tests of this process that run DAGs. Returns the Airflow home."""
    shutil.copy(migrated_database, _HOME)
    return _HOME


_SLOWEST_FIRST = ("tests/live/", "tests/packaging/")
"""Folders whose tests wait for processes: two processes that run the suite end together if these do not come last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(_SLOWEST_FIRST))


def pytest_collection_finish() -> None:
    """Look for garbage in what tests leave, and not in all that is imported, which took a tenth of their CPU."""
    gc.freeze()
    gc.enable()
