"""Reading the source of a dataset: JSON Lines, one object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from airflow_bedrock.datasets.preparation import SourceRecord


def read_jsonl(name: str, lines: Iterable[bytes]) -> Iterator[SourceRecord]:
    """Yield each line's place, ``name:line number``, and its object; None where the line is not a JSON object.

    Blank lines are passed over: the source may have them, what is written has not.
    """
    decoder = msgspec.json.Decoder(dict[str, object])
    for number, line in enumerate(lines, start=1):
        if not line.isspace():
            yield f"{name}:{number}", _object(decoder, line)


def _object(decoder: msgspec.json.Decoder[dict[str, object]], line: bytes) -> dict[str, object] | None:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
