"""Import names and modules when they are first used.

Airflow imports this package each time it parses a DAG file. A DAG that uses one operator should not load all of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import ModuleType


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return a module ``__getattr__`` (PEP 562) that imports a public name from its module on first use.

    :param package: the importing package's ``__name__``.
    :param modules: public name → module that defines it, relative to the package (``".customization"``).
    """

    def __getattr__(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(modules[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__


def lazy_modules(*packages: str) -> Callable[[str], ModuleType]:
    """Return a module ``__getattr__`` that imports a module of that name on first use.

    :param packages: the packages to search; the first is the importing package's ``__name__``.
    """

    def __getattr__(name: str) -> ModuleType:
        for module in (f"{package}.{name}" for package in packages):
            if find_spec(module):
                found = importlib.import_module(module)
                setattr(sys.modules[packages[0]], name, found)
                return found
        raise AttributeError(f"module {packages[0]!r} has no attribute {name!r}")

    return __getattr__
