"""The operations, each a function with its name in snake_case: request in, response out, as in the service model.

To add an operation, write its function; :func:`handler` finds it. Get and List are called with the world's lock held;
the others take it where they change something.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from botocore import xform_name

from airflow_bedrock.local.api.runtime import Event
from airflow_bedrock.local.state.bedrock import Bedrock

Answer = dict[str, Any] | bytes | list[Event]
"""The result of an operation: the members of its output, a raw body, or a stream of events."""

Handler = Callable[[Bedrock, dict[str, Any]], Answer]

_MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]


def handler(operation: str) -> Handler | None:
    """Return the function of an operation such as ``CreateModelCustomizationJob``; None if it is not implemented."""
    name = xform_name(operation)
    return next((getattr(module, name) for module in _MODULES if hasattr(module, name)), None)
