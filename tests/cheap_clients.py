"""A boto3 client of the amazon provider's costs 0.2 s of a core, nine tenths of them the same each time.

Tests make thousands. Processes that they start make theirs as users do.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import Any

import botocore.session
from botocore.loaders import Loader, create_loader

_read: dict[str | None, dict[Any, Any]] = defaultdict(dict)


def make_clients_cheap() -> None:
    """From now on, what is read of services is read once in this process, not for each session.

    The provider walks the stack for the user agent: without the source lines of each frame, which it does not read.
    """
    botocore.session.create_loader = _sharing
    inspect.stack.__defaults__ = (0,)


def _sharing(search_path_string: str | None = None) -> Loader:
    """Return a loader that remembers what all others have read, as the clients of one session do."""
    loader = create_loader(search_path_string)
    loader._cache = _read[search_path_string]  # type: ignore[attr-defined]  # as above
    return loader
