"""List every place where a record does not match the type of its format, without quoting its texts.

msgspec stops at the first error, so a record that it refuses is read again, member by member.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from airflow_bedrock.datasets.records import not_json
from airflow_bedrock.datasets.rules.record import Problem

LONGEST_NAME = 60  # characters of an unknown member's name in a message

_PLACE = re.compile(r" - at `.*`$", re.DOTALL)
_VALUE = re.compile(r"^Invalid enum value .*$", re.DOTALL)


def decoded(decoder: msgspec.json.Decoder[Any], line: bytes) -> tuple[Any, list[Problem]]:
    """Return the decoded line, or all problems of its shape."""
    try:
        return decoder.decode(line), []
    except msgspec.ValidationError:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None, list(shape_problems(msgspec.json.decode(line), decoder.type))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return None, [Problem("json", "$", f"it is {not_json(line) if line.strip() else 'blank'}")]


def shape_problems(value: object, type_: Any, where: str = "$") -> Iterator[Problem]:
    """Yield each place where a decoded value does not have the type, at any depth."""
    try:
        msgspec.convert(value, type_)
    except (msgspec.ValidationError, RecursionError) as error:
        found = list(_within(value, type_, where))
        yield from found or [Problem("shape", where, _message(error, type_))]


def _message(error: Exception, type_: Any) -> str:
    """Return msgspec's message without the place and without values, which may be texts."""
    allowed = [one for one in get_args(_bare(type_)) if isinstance(one, str)]
    message = _PLACE.sub("", str(error))
    return _VALUE.sub(f"Expected one of {', '.join(map(repr, allowed))}", message)


def _within(value: object, type_: Any, where: str) -> Iterator[Problem]:
    bare = _bare(type_)
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct) and isinstance(value, dict):
        yield from _of_struct(value, bare, where)
    elif get_origin(bare) is list and isinstance(value, list):
        (item,) = get_args(bare)
        for number, one in enumerate(value):
            yield from shape_problems(one, item, f"{where}[{number}]")


def _of_struct(value: dict[str, object], struct: type[msgspec.Struct], where: str) -> Iterator[Problem]:
    types = get_type_hints(struct, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if name in value:
            yield from shape_problems(value[name], types[field.name], f"{where}.{name}")
        elif field.required:
            yield Problem("shape", where, f"Object missing required field `{name}`")
    if struct.__struct_config__.forbid_unknown_fields:
        for name in value.keys() - fields.keys():
            yield Problem("shape", where, f"Object contains unknown field `{name[:LONGEST_NAME]}`")


def _bare(type_: Any) -> Any:
    """Return the type without its constraints, and without None."""
    if get_origin(type_) is Annotated:
        return _bare(get_args(type_)[0])
    if get_origin(type_) in (Union, UnionType):
        others = [one for one in get_args(type_) if one is not NoneType]
        return _bare(others[0]) if len(others) == 1 else type_
    return type_
