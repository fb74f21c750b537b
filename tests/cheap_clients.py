"""A boto3 client of the amazon provider's costs 0.2 s of a core, nine tenths of them the same each time.

Tests make thousands. Processes that they start make theirs as users do.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.compat
import botocore.hooks
import botocore.httpsession
import botocore.session
from botocore.loaders import Loader, create_loader

_read: dict[str | None, dict[Any, Any]] = defaultdict(dict)
_event_names: dict[str, str] = {}
_found_source_file = inspect.getsourcefile


def make_clients_cheap() -> None:
    """From now on, what is read of services is read once in this process, not for each session.

    The provider walks the stack for the user agent: without each frame's file and source lines, which it does not read.
    Half of what remains is a hundred handlers of events, of which botocore finds out the same for each session, and a
    context for TLS, which Local Bedrock does not speak.
    """
    botocore.session.create_loader = _sharing
    botocore.session.EventAliaser = _Aliaser  # type: ignore[assignment, misc]  # a subclass of it
    botocore.hooks.accepts_kwargs = _accepts_kwargs  # type: ignore[assignment]  # its stub says what it reads
    botocore.httpsession.create_urllib3_context = cache(botocore.httpsession.create_urllib3_context)
    inspect.stack.__defaults__ = (0,)
    inspect.getsourcefile = _source_file  # type: ignore[assignment]  # the stub names all that has a file


def _sharing(search_path_string: str | None = None) -> Loader:
    """Return a loader that remembers what all others have read, as the clients of one session do."""
    loader = create_loader(search_path_string)
    loader._cache = _read[search_path_string]  # type: ignore[attr-defined]  # as above
    return loader


class _Aliaser(botocore.hooks.EventAliaser):
    """Remembers what all others have found of the names of events."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._alias_name_cache = _event_names


def _accepts_kwargs(handler: Callable[..., Any]) -> bool:
    """Whether a handler takes ``**kwargs``: of a function its code says so, without its whole signature."""
    if code := getattr(handler, "__code__", None):
        return bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return bool(botocore.compat.accepts_kwargs(handler))


def _source_file(thing: Any) -> str | None:
    """Return a frame's file without looking whether it exists."""
    return thing.f_code.co_filename if inspect.isframe(thing) else _found_source_file(thing)
