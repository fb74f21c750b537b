"""Airflow's task state store, as a task is given it since 3.3."""

from __future__ import annotations

from typing import Any


class Store(dict[str, Any]):
    """What a task instance has written down, which a retry and a Clear keep."""

    set, delete = dict.__setitem__, dict.__delitem__
