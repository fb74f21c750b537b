"""The core: what a customization job is asked for, known by, and ends in. No Airflow import, no I/O.

The operators name through this package what they need only when a task runs; it is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

__all__ = ["console", "failure", "job", "remedy", "tags", "waiters"]

if TYPE_CHECKING:
    from airflow_bedrock.customization import console, failure, job, remedy, tags, waiters
else:
    __getattr__ = lazy_modules(__name__, {name: f".{name}" for name in __all__})
