"""The pytest plugin: the fixture ``local_bedrock``, so that a test of a DAG is three lines.

::

    def test_support_router(local_bedrock):
        from my_dags.support_router import dag
        assert dag.test().state == "success"

Import the DAG in the test, so that what it reads when it is parsed comes from the fixture's environment too.

pytest loads this module at each start (entry point ``pytest11``), so it imports nothing of Local Bedrock until a test
uses a fixture.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_bedrock.local.service import LocalBedrock

_DEFAULTS: dict[str, Any] = {"job_seconds": 1.0, "deployment_seconds": 0.2}
"""The defaults for tests; ini file, command line and marker override them."""

_HELP = "settings of the fixture local_bedrock, as NAME=VALUE; see airflow_bedrock.local.settings.Settings"

_MARKER = (
    "local_bedrock(**settings): settings of the fixture local_bedrock for a test, or of local_bedrock_module for a "
    'module, such as job_seconds=10 or clock="manual"'
)

_running = 0
"""Number of instances in this process; they share moto's state, such as the buckets."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings on the command line and in the ini file."""
    parser.addini("local_bedrock", _HELP, type="linelist", default=[])
    parser.getgroup("local_bedrock").addoption(
        "--local-bedrock", action="append", default=[], metavar="NAME=VALUE", help=_HELP
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def local_bedrock(request: pytest.FixtureRequest) -> Iterator[LocalBedrock]:
    """A Local Bedrock for one test, with only a bucket and a role.

    The environment points boto3, the AWS CLI and Airflow to it until the test ends: ``AWS_*``,
    ``AIRFLOW_CONN_AWS_DEFAULT``, ``AIRFLOW_VAR_BEDROCK_BUCKET``, ``AIRFLOW_VAR_BEDROCK_ROLE_ARN``,
    ``AIRFLOW__BEDROCK__POLL_INTERVAL``.

    :returns: the :class:`~airflow_bedrock.local.LocalBedrock`: ``endpoint_url``, ``bucket``, ``role_arn``,
        ``client(service)``, ``faults``, ``clock``, ``calls``.
    """
    with _local_bedrock(request) as local:
        yield local


@pytest.fixture(scope="module")
def local_bedrock_module(request: pytest.FixtureRequest) -> Iterator[LocalBedrock]:
    """Like ``local_bedrock``, but shared by all tests of a module, for results that take long to make."""
    with _local_bedrock(request) as local:
        yield local


@contextmanager
def _local_bedrock(request: pytest.FixtureRequest) -> Iterator[LocalBedrock]:
    global _running
    try:
        from airflow_bedrock.local import LocalBedrock
        from airflow_bedrock.local.dag_test import prepare
    except ModuleNotFoundError as error:
        pytest.fail(
            f"The fixture local_bedrock needs {error.name}. Install it with: pip install 'airflow-bedrock[local]', "
            "or in a checkout: pip install '.[local]'. If this environment's pins do not allow that, install it in "
            "another one, and set AIRFLOW_BEDROCK_LOCAL to its command there: /path/to/airflow-bedrock local"
        )
    with pytest.MonkeyPatch.context() as patch, LocalBedrock(**_settings(request)) as local:
        if not (_running or os.environ.get("AIRFLOW_BEDROCK_LOCAL")):  # a new process has no state yet
            local.reset()
        _running += 1
        try:
            _lead(patch, local)
            prepare(patch)
            yield local
        finally:
            _running -= 1


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    config = request.config
    marker = request.node.get_closest_marker("local_bedrock")
    given = _read(config.getini("local_bedrock")) | _read(config.getoption("local_bedrock"))
    return _DEFAULTS | given | (marker.kwargs if marker else {})


def _read(lines: Iterable[str]) -> dict[str, Any]:
    """Read settings: numbers, booleans and quoted strings as in Python, anything else as text."""
    settings = {}
    for line in lines:
        name, separator, value = (part.strip() for part in line.partition("="))
        if not separator:
            raise pytest.UsageError(f"A setting of local_bedrock is NAME=VALUE, not {line!r}.")
        try:
            settings[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            settings[name] = value
    return settings


def _lead(patch: pytest.MonkeyPatch, local: LocalBedrock) -> None:
    """Make all AWS clients of this process use it, whatever the environment says."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            patch.delenv(name)
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    for name, value in {**nowhere, "AWS_EC2_METADATA_DISABLED": "true", **local.environment()}.items():
        patch.setenv(name, value)
    patch.setattr("boto3.DEFAULT_SESSION", None)
