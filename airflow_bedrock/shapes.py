"""Check a value against a shape of botocore's service model, as the service checks it.

botocore checks only types, required members and minimum lengths on the client. The service also checks maximum lengths,
enums, patterns and unions. :func:`problems` checks all of them and reports every problem at once, before the request is
sent. Pure: no I/O and no client, only the shape and the value.
"""

from __future__ import annotations

import functools
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

# The service model writes "any of these characters, dashes included" in a way that takes Python's `re` exponential
# time: after 24 dashes each further one doubles it. The plain character class matches exactly the same strings.
_EXPONENTIAL = {r"(-*[a-zA-Z0-9\+\-\.])*": r"[a-zA-Z0-9\+\-\.]*"}


class Problem(msgspec.Struct, frozen=True):
    """One way in which a value does not fit its shape.

    :param path: the member, in the form the service uses (``trainingDataConfig.s3Uri``, ``jobTags.1.member.key``);
        empty for the value itself.
    :param value: the value there; None if a required member is missing.
    :param rule: the broken rule, in the service's words where they are known.
    """

    path: str
    value: object
    rule: str

    def __str__(self) -> str:
        return f"Value at '{self.path}' failed to satisfy constraint: {self.rule}"


class Shape:
    """A shape of a service model, with those attributes of ``botocore.model.Shape`` that a check reads.

    botocore's own needs some fifty modules and a whole parse of the model: too much for each parse of a DAG file.
    """

    def __init__(self, shapes: Mapping[str, msgspec.Raw], name: str) -> None:
        self._shapes = shapes
        self.metadata: Mapping[str, Any] = msgspec.json.decode(shapes[name])
        self.type_name: str = self.metadata["type"]
        self.enum: Sequence[str] = self.metadata.get("enum", [])
        self.required_members: Sequence[str] = self.metadata.get("required", [])
        self.is_tagged_union: bool = self.metadata.get("union", False)
        self.is_document_type: bool = self.metadata.get("document", False)

    @functools.cached_property
    def members(self) -> dict[str, Shape]:
        """The members of a structure, by name."""
        return {name: Shape(self._shapes, to["shape"]) for name, to in self.metadata.get("members", {}).items()}

    @property
    def member(self) -> Shape:
        """The items of a list."""
        return Shape(self._shapes, self.metadata["member"]["shape"])

    @property
    def key(self) -> Shape:
        """The keys of a map."""
        return Shape(self._shapes, self.metadata["key"]["shape"])

    @property
    def value(self) -> Shape:
        """The values of a map."""
        return Shape(self._shapes, self.metadata["value"]["shape"])


class UnknownOperationError(LookupError):
    """The installed botocore does not know an operation; nothing was sent."""


@functools.cache
def input_shape(service: str, operation: str, *, oldest: bool = False) -> Shape:
    """Return the shape of an operation's request, from the service model that botocore would use.

    :param oldest: instead, as the oldest supported botocore has it. What it accepts, each later one accepts too, and
        it is read in a twentieth of the time. It has only the operations that our operators call.
    :raises UnknownOperationError: the model has no such operation.
    """
    model = _oldest_models()[service] if oldest else _service_model(service)
    if operation not in model.operations:
        raise UnknownOperationError(missing_in_botocore(operation) or f"{service} has no operation {operation}")
    return Shape(model.shapes, msgspec.json.decode(model.operations[operation])["input"]["shape"])


class _ServiceModel(msgspec.Struct):
    """A check reads a dozen of hundreds of operations and shapes: only those are decoded."""

    operations: dict[str, msgspec.Raw]
    shapes: dict[str, msgspec.Raw]


@functools.cache
def _oldest_models() -> dict[str, _ServiceModel]:
    """Read what ``scripts/oldest_botocore.py`` took from the oldest supported botocore, by service."""
    content = Path(__file__).with_name("oldest_botocore.json").read_bytes()
    return msgspec.json.decode(content, type=dict[str, _ServiceModel])


def missing_in_botocore(name: str, installed: str | None = None) -> str:
    """Return a sentence on what only a newer botocore knows; empty if that is not the reason.

    :param name: an operation, a member of its request (``Operation.member.member``) or a value (``….member=VALUE``).
    """
    import tomllib  # here, since only an error needs it

    import botocore
    from packaging.version import Version

    installed = installed or botocore.__version__
    first = tomllib.loads((Path(__file__).parent / "first_botocore.toml").read_text()).get(name)
    if first is None or Version(installed) >= Version(first):
        return ""
    return f"botocore {installed} does not know {name}: upgrade boto3 to {first} or later, the first that does"


@functools.cache
def _service_model(service: str) -> _ServiceModel:
    """Read the newest version that ``~/.aws/models`` or botocore has, without loading botocore."""
    botocore = find_spec("botocore")
    places = (botocore and botocore.submodule_search_locations) or []
    folders = [Path.home() / ".aws" / "models" / service, *(Path(place, "data", service) for place in places)]
    versions = [version for folder in folders if folder.is_dir() for version in folder.iterdir()]
    for version in sorted(versions, key=lambda version: version.name, reverse=True):
        if content := data_file(version / "service-2"):
            return msgspec.json.decode(content, type=_ServiceModel)
    raise UnknownOperationError(f"botocore does not know {service}")


def data_file(path: str | os.PathLike[str]) -> bytes | None:
    """Return the content of a data file of botocore, packed or not; None if it does not exist.

    :param path: without the ending.
    """
    with suppress(FileNotFoundError):
        return Path(f"{path}.json").read_bytes()
    with suppress(FileNotFoundError):
        packed = Path(f"{path}.json.gz").read_bytes()
        # The last four bytes are its size, so the buffer need not grow.
        return zlib.decompress(packed, wbits=31, bufsize=int.from_bytes(packed[-4:], "little"))
    return None


def problems(shape: Any, value: object, path: str = "") -> list[Problem]:
    """Return every way in which ``value`` does not fit ``shape``; an empty list when it fits.

    A member whose value is None counts as absent, as in JSON sent to the service.

    :param shape: a :class:`Shape`, or one of botocore.
    :param value: Python values as boto3 takes them: mappings, sequences, strings, numbers, datetimes.
    :param path: the path of ``value``, prefixed to the paths in the result.
    """
    return list(_problems(shape, value, path))


def describe(found: Sequence[Problem]) -> str:
    """Return the message that the service gives for these problems: a count, then each of them."""
    count = f"{len(found)} validation error{'s' if len(found) != 1 else ''} detected: "
    return count + "; ".join(str(problem) for problem in found)


@functools.cache
def safe_pattern(pattern: str) -> re.Pattern[str] | None:
    """Compile a pattern of the service model so that it matches in reasonable time.

    :return: None if the pattern uses syntax that Python's ``re`` does not have, such as Unicode classes;
        such a pattern is not checked.
    """
    for exponential, equivalent in _EXPONENTIAL.items():
        pattern = pattern.replace(exponential, equivalent)
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _problems(shape: Any, value: object, path: str) -> Iterator[Problem]:
    if getattr(shape, "is_document_type", False):
        return
    types, noun = _TYPES.get(shape.type_name, (object, ""))
    if not isinstance(value, types) or (isinstance(value, bool) and shape.type_name != "boolean"):
        yield Problem(path, value, f"Member must be {noun}")
        return
    if check := _CHECKS.get(shape.type_name):
        yield from check(shape, value, path)


def _structure(shape: Any, value: Mapping[str, object], path: str) -> Iterator[Problem]:
    given = {name: member for name, member in value.items() if member is not None}
    for name in shape.required_members:
        if name not in given:
            yield Problem(_join(path, name), None, "Member must not be null")
    for name, member in value.items():
        if name not in shape.members:
            yield Problem(_join(path, name), member, f"Unknown member; allowed: {_listed(shape.members)}")
        elif member is not None:
            yield from _problems(shape.members[name], member, _join(path, name))
    if getattr(shape, "is_tagged_union", False) and len(given) != 1:
        yield Problem(path, value, f"Member must have exactly one of these set: {_listed(shape.members)}")


def _list(shape: Any, value: Sequence[object], path: str) -> Iterator[Problem]:
    yield from _length(shape, value, path)
    for number, item in enumerate(value, start=1):
        yield from _problems(shape.member, item, f"{path}.{number}.member")


def _map(shape: Any, value: Mapping[object, object], path: str) -> Iterator[Problem]:
    yield from _length(shape, value, path)
    for key, item in value.items():
        yield from _problems(shape.key, key, f"{path}.key")
        yield from _problems(shape.value, item, _join(path, str(key)))


def _string(shape: Any, value: str, path: str) -> Iterator[Problem]:
    yield from _length(shape, value, path)
    enum = shape.metadata.get("enum")
    if enum and value not in enum:
        yield Problem(path, value, f"Member must satisfy enum value set: {_listed(enum)}")
    written = shape.metadata.get("pattern")
    pattern = safe_pattern(written) if written else None
    if pattern and not pattern.fullmatch(value):
        yield Problem(path, value, f"Member must satisfy regular expression pattern: {written}")


def _number(shape: Any, value: float, path: str) -> Iterator[Problem]:
    yield from _bounds(shape, value, "value", value, path)


def _length(shape: Any, value: Any, path: str) -> Iterator[Problem]:
    yield from _bounds(shape, len(value), "length", value, path)


def _bounds(shape: Any, size: float, quantity: str, value: object, path: str) -> Iterator[Problem]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield Problem(path, value, f"Member must have {quantity} greater than or equal to {low}")
    if high is not None and size > high:
        yield Problem(path, value, f"Member must have {quantity} less than or equal to {high}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(names)}]"


# By shape type: the Python types that boto3 accepts for it, and their name in messages.
_TYPES: dict[str, tuple[Any, str]] = {
    "structure": (Mapping, "a structure"),
    "map": (Mapping, "a map"),
    "list": ((list, tuple), "a list"),
    "string": (str, "a string"),
    "integer": (int, "an integer"),
    "long": (int, "an integer"),
    "float": ((int, float), "a number"),
    "double": ((int, float), "a number"),
    "boolean": (bool, "a boolean"),
    "timestamp": ((datetime, str, int, float), "a timestamp"),
}
_CHECKS: dict[str, Callable[[Any, Any, str], Iterator[Problem]]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _number,
    "long": _number,
    "float": _number,
    "double": _number,
}
