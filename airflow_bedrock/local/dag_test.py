"""What ``dag.test()`` needs from Airflow, wherever the DAG file is: a database, and a bundle that contains the file.

If the environment names no Airflow home and no database, tests get their own, which last as long as the process. If it
does, those are used unchanged, and never migrated.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_NAMED = ("AIRFLOW_HOME", "AIRFLOW_CONFIG", _DATABASE, f"{_DATABASE}_CMD", f"{_DATABASE}_SECRET")


def prepare(patch: pytest.MonkeyPatch) -> None:
    """Make ``DAG.test`` work until the patch is undone."""
    own = not any(name in os.environ for name in _NAMED)
    if own:
        patch.setenv("AIRFLOW_HOME", str(_home()))
        patch.setenv(_DATABASE, f"sqlite:///{_home()}/airflow.db")
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    with warnings.catch_warnings(action="ignore"):  # Airflow's own are not the test's
        from airflow.sdk import DAG

    test = DAG.test

    @functools.wraps(test)
    def prepared(dag: Any, *args: Any, **kwargs: Any) -> Any:
        if own:
            _make_database()
        with patch.context() as during:  # so that only the test undoes what it has set
            _make_bundle(during, dag)
            _activate_assets(dag)
            return test(dag, *args, **kwargs)

    patch.setattr(DAG, "test", prepared)


def _make_database() -> None:
    from airflow import settings

    if os.environ[_DATABASE] != settings.SQL_ALCHEMY_CONN:  # Airflow was imported before the fixture began
        settings.configure_vars()
        settings.reconfigure_orm()
    _migrate()


@functools.cache
def _migrate() -> None:
    from airflow.utils.db import initdb

    with warnings.catch_warnings(action="ignore"):
        initdb()


def _make_bundle(patch: pytest.MonkeyPatch, dag: Any) -> None:
    """Add a bundle with the DAG's file to the configured ones: Airflow runs only DAGs that it has parsed."""
    from airflow.configuration import conf

    name = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
    configured: Any = conf.getjson("dag_processor", "dag_bundle_config_list")
    tested = {
        "name": "tested",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": dag.fileloc},
    }
    patch.setenv(name, json.dumps([tested, *(one for one in configured if one["name"] != "tested")]))
    # Airflow skips files that do not contain the words "dag" and "airflow", such as those that use a factory.
    patch.setenv("AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE", "False")


def _activate_assets(dag: Any) -> None:
    """Write the DAG to the database, as ``DAG.test`` itself does since Airflow 3.1: without it, its assets are
    inactive.
    """
    from airflow import __version__
    from packaging.version import Version

    if Version(__version__) < Version("3.1"):
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        DagBundlesManager().sync_bundles_to_db()
        serialization: Any = import_module("airflow.serialization.serialized_objects").SerializedDAG  # 3.0's
        scheduler_dag = serialization.deserialize_dag(serialization.serialize_dag(dag))
        scheduler_dag.bulk_write_to_db("tested", None, [scheduler_dag])


@functools.cache
def _home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="airflow-bedrock-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home
