"""The manifest of a preparation: which files it wrote, and with which parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from airflow_bedrock.datasets.choices import Split
from airflow_bedrock.datasets.errors import DatasetError

_OF_A_RECORD = (
    *("base_model_id", "customization_type", "record_format", "system_prompt", "redact"),
    *("group_field", "validation_fraction", "test_fraction", "seed", "time_field", "test_after"),
)
"""The parameters that decide how a record is written, and its split; sources and samples may differ by part."""


class File(msgspec.Struct, frozen=True):
    """The file of a split."""

    uri: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a preparation has written.

    :param parameters: the parameters of the preparation.
    :param files: the files by split; a split without a record has none.
    :param digest: the digest of the content.
    """

    parameters: dict[str, Any]
    files: dict[Split, File]
    digest: str

    @classmethod
    def of(cls, content: bytes) -> Manifest:
        """Read ``manifest.json``.

        :raises DatasetError: it is not a manifest.
        """
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DatasetError(f"it is not the manifest of a prepared dataset: {error}") from error

    def differences(self, parameters: Mapping[str, Any]) -> list[str]:
        """Return the names of the parameters that differ from the manifest's."""
        given = msgspec.to_builtins({name: parameters[name] for name in _OF_A_RECORD})
        return [name for name in _OF_A_RECORD if self.parameters.get(name) != given[name]]


def name_of(function: object) -> str:
    """Return the identity of a function: its name, and for a partial also a digest of its arguments.

    An argument that is not a text, number, collection, pattern or function is identified by its type only.
    """
    if not isinstance(function, partial):
        return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    given = json.dumps((function.args, function.keywords), sort_keys=True, default=_identity)
    return f"{name_of(function.func)}({sha256(given.encode()).hexdigest()[:16]})"  # they may be confidential


def _identity(argument: object) -> object:
    if isinstance(argument, re.Pattern):
        return argument.pattern, argument.flags
    return sorted(map(repr, argument)) if isinstance(argument, (set, frozenset)) else name_of(argument)
