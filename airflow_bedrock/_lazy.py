"""Names and modules that are imported when they are first used.

Airflow imports this package each time it parses a DAG file; a DAG that uses one operator should not pay for all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
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


def lazy_modules(package: str, modules: Mapping[str, str]) -> Callable[[str], ModuleType]:
    """Return a module ``__getattr__`` that imports a module on first use.

    :param package: the importing package's ``__name__``.
    :param modules: name → module, relative to the package.
    """

    def __getattr__(name: str) -> ModuleType:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(modules[name], package)
        setattr(sys.modules[package], name, module)
        return module

    return __getattr__
