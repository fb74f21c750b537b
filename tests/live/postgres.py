"""PostgreSQL for a live test, which skips where it cannot be had, except in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.postgres import NotInstalledError
from scripts.postgres import postgres as server


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server and yield SQLAlchemy's URL of an empty database."""
    try:
        with server() as url:
            yield url
    except NotInstalledError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
