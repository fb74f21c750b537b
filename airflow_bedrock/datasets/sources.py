"""Read sources as JSON Lines: files in many formats, queries over them, and rows of a database.

The formats are JSON Lines, JSON arrays, CSV, TSV, Parquet and plain text, each also compressed by gzip or Zstandard. In
formats other than JSON Lines a record is identified by its number: ``people.csv:17`` is the seventeenth. Only one
record at a time is in memory.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import IO, Any

import msgspec

from airflow_bedrock.datasets.blocks import packing_of, without_bom
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.preparation import Source
from airflow_bedrock.datasets.queries import check_different, quoted, select
from airflow_bedrock.datasets.reading import FEWER_FIELDS, MORE_FIELDS

_KINDS = {
    "jsonl": "json",
    "ndjson": "json",
    "json": "json",
    "csv": "csv",
    "tsv": "tsv",
    "parquet": "parquet",
    "txt": "txt",
}
_OF_BATCH = ".jsonl.out"
_ENDING = re.compile(r"(\.(gz|zstd?)|(?<=\.jsonl)\.out)\Z")
_BETWEEN = re.compile(r"[ \t\r\n,]*")  # between the elements of a JSON array
_CHUNK = 1 << 20  # bytes or characters
_FRAME_PART = 2048  # bytes of Zstandard at a time: they decompress to at most 64 MB
_LONGEST_FIELD = 1 << 30  # characters of a CSV field
_LONGEST_ELEMENT = 1 << 26  # characters; a broken array is read no further
_SAMPLE = 20_480
"""DuckDB's own number of rows of a CSV file by which it chooses the types of the columns; -1 is all."""
_CSV_TYPES = ["NULL", "BIGINT", "DOUBLE", "TIME", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR"]
"""The types that DuckDB may give to a column of a CSV file. A boolean would have true for the label ``yes``."""


def kind_of(name: str) -> str | None:
    """Return the kind of a file: JSON if the name does not say; None for an unsupported one.

    Its content, not its name, says whether it is compressed. Athena names unloaded files ``20261121_….gz``,
    and batch inference its output ``….jsonl.out``.
    """
    _, dot, kind = _ENDING.sub("", name.rpartition("/")[2].lower()).rpartition(".")
    return _KINDS.get(kind) if dot else "json"


def read_in_a_folder(name: str) -> bool:
    """Whether a file is read if its folder is the source.

    Plain text, the output of batch inference, files without a suffix, and files whose name or folder begins with a dot
    or an underscore, as engines and editors write them, are not read.

    :param name: its name in that folder.
    """
    parts, found = name.split("/"), kind_of(name)
    return (
        found is not None
        and found != "txt"
        and "." in parts[-1]
        and not name.endswith(_OF_BATCH)
        and not any(part.startswith(("_", ".")) for part in parts)
    )


def as_source(name: str, path: Path, folder: Path) -> Source:
    """Return a file as JSON Lines.

    :param name: its name, which decides its kind.
    :param folder: the folder to write to, if it must be converted.
    :raises DatasetError: the content of the file does not match its name, or its kind is not supported.
    """
    kind, plain = _kind(name), unpacked(name, path, folder)
    with _named(name):
        if kind == "json" and not _is_array(plain):
            return Source(name, plain)
        if kind == "parquet":
            lines = write_records(select(f"SELECT * FROM read_parquet({quoted(plain)})", folder), folder)  # noqa: S608 - a path
        else:
            lines = _converted(plain, kind, folder)
    if plain != path:
        plain.unlink()
    return Source(name, lines)


def _kind(name: str) -> str:
    if (kind := kind_of(name)) is None:
        raise DatasetError(f"{name} is not of a supported type: {', '.join(_KINDS)}, also .gz and .zst")
    return kind


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DatasetError(f"{name} is not in UTF-8. Save it as UTF-8") from error
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error


def _converted(path: Path, kind: str, folder: Path) -> Path:
    with path.open(encoding="utf-8-sig", newline="") as text:
        if kind == "json":  # a line end is not part of a text in it
            return _written((f"{one.replace(chr(10), ' ')}\n".encode() for one in _elements(text)), folder)
        return write_records(_READERS[kind](text), folder)


def unpacked(name: str, path: Path, folder: Path) -> Path:
    """Return a file, or its decompressed copy if its content is compressed.

    :raises DatasetError: it cannot be decompressed.
    """
    if not (packing := packing_of(path)):
        return path
    try:
        return _written(_decompressed(path, packing), folder)
    except EOFError as error:
        raise DatasetError(f"{name} is truncated. Copy it again") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{name} is not a gzip file: {type(error).__name__}") from error
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error


def write_records(records: Iterable[Mapping[str, Any]], folder: Path) -> Path:
    """Write records as JSON Lines, and return the file."""
    encode = msgspec.json.Encoder(enc_hook=str).encode
    return _written((encode(one) + b"\n" for one in records), folder)


def query(sql: str, sources: Sequence[tuple[str, Path]], folder: Path) -> Path:
    """Write the result of a DuckDB query as JSON Lines, and return the file.

    :param sql: the query, in which the files are the table ``source``.
    :param sources: the files, with the names that decide their kinds.
    :raises DatasetError: DuckDB is not installed, or refuses the query.
    """
    try:
        return write_records(select(sql, folder, _source(sources, folder, _SAMPLE)), folder)
    except DatasetError as error:
        if "ConversionException" not in str(error):
            raise
    # A column of numbers may have a text after the sample. Types of all rows take several times as long.
    return write_records(select(sql, folder, _source(sources, folder, -1)), folder)


def _source(sources: Sequence[tuple[str, Path]], folder: Path, sample: int) -> str:
    return " UNION ALL BY NAME ".join(f"SELECT * FROM {table}" for table in _tables(sources, folder, sample))  # noqa: S608 - paths, quoted


def _tables(sources: Sequence[tuple[str, Path]], folder: Path, sample: int) -> Iterator[str]:
    """Yield the DuckDB expressions for files, in their order.

    Files of a kind that follow each other are one table, so that DuckDB finds types that suit all of them, and needs
    the memory of one: a chat's content may be a text in one file, and a list in the next.
    """
    for kind, run in groupby(sources, lambda source: _kind(source[0])):
        files = list(run)
        if kind == "json":  # a member that is not in the sample would be left out
            yield f"read_json_auto({quoted(_as_one(files, folder))}, format = 'unstructured', sample_size = -1)"
            continue
        several = ", union_by_name = true" if len(files) > 1 else ""
        where = f"[{', '.join(quoted(unpacked(name, path, folder)) for name, path in files)}]"
        if kind == "parquet":
            yield f"read_parquet({where}{several})"
        elif kind in ("csv", "tsv"):
            # Without header = true, a header that does not name pandas' index is a row.
            types = f"sample_size = {sample}, auto_type_candidates = {_CSV_TYPES}"
            yield f"read_csv_auto({where}{several}, header = true, {types})"
        else:
            raise DatasetError(f"{files[0][0]} is not a table that DuckDB can read")


def _as_one(files: Sequence[tuple[str, Path]], folder: Path) -> Path:
    """Return JSON files as one without arrays, since DuckDB takes 32 MB for each file."""

    def parts() -> Iterator[bytes]:
        for name, path in files:
            lines = as_source(name, path, folder).path
            with lines.open("rb") as file:
                yield without_bom(file.read(_CHUNK))
                yield from iter(partial(file.read, _CHUNK), b"")
            yield b"\n"
            if lines != path:
                lines.unlink()

    return _written(parts(), folder)


def _written(parts: Iterable[bytes], folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".jsonl", delete=False) as file:
        file.writelines(parts)
    return Path(file.name)


def _decompressed(path: Path, packing: str) -> Iterator[bytes]:
    """Yield the content of a compressed file.

    :raises EOFError: it is truncated.
    """
    if packing == "gzip":
        with gzip.open(path) as content:
            yield from iter(partial(content.read, _CHUNK), b"")
        return
    try:
        import zstandard
    except ImportError as error:
        raise DatasetError("Zstandard needs an extra. Install 'airflow-bedrock[prep]'") from error
    frame = None  # zstandard's own reader stops after the first frame, and does not report a truncated one
    try:
        with path.open("rb") as file:
            while packed := file.read(_FRAME_PART):
                while packed:
                    frame = frame or zstandard.ZstdDecompressor().decompressobj()
                    yield frame.decompress(packed)
                    packed = frame.unused_data
                    frame = None if frame.eof else frame
    except zstandard.ZstdError as error:
        raise DatasetError("it cannot be decompressed") from error
    if frame is not None:
        raise EOFError


def _is_array(path: Path) -> bool:
    """Whether the first character that is not white space begins an array."""
    with path.open("rb") as file:
        return without_bom(file.read(_CHUNK)).lstrip().startswith(b"[")


def _csv(text: IO[str], delimiters: str = ",;\t|") -> Iterator[dict[str, Any]]:
    """Yield the rows; an unclosed quote, which would make the rest of the file one field, is an error.

    :param delimiters: the candidates; the first one that splits the header into the most fields is the delimiter.
    """
    csv.field_size_limit(_LONGEST_FIELD)  # for the whole process: Python has no limit for one reader
    header = text.readline()
    delimiter = max(delimiters, key=lambda one: len(next(csv.reader([header], delimiter=one), ())))
    found = csv.DictReader(
        chain([header], text),
        restkey=MORE_FIELDS,
        delimiter=delimiter,
        # Without it, the second field of `"a", "b"` would begin with a space and have the quotes in it.
        skipinitialspace=f"{delimiter} " in header,
        strict=True,
    )
    try:
        check_different(found.fieldnames or (), "the header")
        for row in found:
            if any(row.pop(MORE_FIELDS, None) or ()):
                yield {MORE_FIELDS: True}
            elif None in row.values():
                yield {FEWER_FIELDS: True}
            else:
                yield row
    except csv.Error as error:
        raise DatasetError(
            f"near line {found.line_num}: {error}. Quote fields that contain quotes, and double the quotes in them"
        ) from error


def _lines(text: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield each line of plain text that is not blank."""
    for line in text:
        if line.strip():
            yield {"text": line.rstrip("\r\n")}


def _elements(text: IO[str]) -> Iterator[str]:
    """Yield the elements of a JSON array, one after the other."""
    decode = json.JSONDecoder().raw_decode
    rest, place = text.read(_CHUNK).lstrip()[1:], 0
    while True:
        begin = _BETWEEN.match(rest, place).end()  # type: ignore[union-attr]  # it matches even nothing
        try:
            _, end = decode(rest, begin)
        except (ValueError, RecursionError):
            end = len(rest)
        if end < len(rest):  # otherwise it may be longer
            yield rest[begin:end]
            place = end
            continue
        unread = len(rest) - place
        # As much again, so that a long element is not parsed again and again.
        more = text.read(max(_CHUNK, unread)) if unread <= _LONGEST_ELEMENT else ""
        if more:
            rest, place = rest[place:] + more, 0
        elif rest[place:].strip() == "]":
            return
        else:
            raise DatasetError("the JSON array is broken")


_READERS: dict[str, Callable[[IO[str]], Iterator[Any]]] = {
    "csv": _csv,
    "tsv": partial(_csv, delimiters="\t"),
    "txt": _lines,
}
