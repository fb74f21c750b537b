"""Members of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def present(members: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what does not exist yet: the service does not answer with nulls."""
    return {name: value for name, value in members.items() if value is not None}
