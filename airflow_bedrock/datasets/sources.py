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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from airflow_bedrock.datasets.blocks import packing_of, without_bom
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.preparation import Source
from airflow_bedrock.datasets.reading import FEWER_FIELDS, MORE_FIELDS

_KINDS = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "csv": "csv",
    "tsv": "tsv",
    "parquet": "parquet",
    "txt": "txt",
}
_PACKED = {"gz": "gzip", "zst": "zstd", "zstd": "zstd"}
_BETWEEN = re.compile(r"[ \t\r\n,]*")  # between the elements of a JSON array
_CHUNK = 1 << 20  # bytes or characters
_FRAME_PART = 2048  # bytes of Zstandard at a time: they decompress to at most 64 MB
_ROWS = 1000  # of a database at a time
_LONGEST_FIELD = 1 << 30  # characters of a CSV field
_LONGEST_TOKEN = 16  # characters of the longest JSON token that is invalid when cut: -Infinity, escaped surrogates
_BROKEN = "the JSON array is broken"
_CSV_TYPES = ["NULL", "BIGINT", "DOUBLE", "TIME", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR"]
"""The types that DuckDB may give to a column of a CSV file. A boolean would have true for the label ``yes``."""


class Kind(NamedTuple):
    """The kind of a file, by its name.

    :param packing: ``gzip``, ``zstd``, or empty.
    """

    kind: str
    packing: str


def kind_of(name: str) -> Kind | None:
    """Return the kind of a file: JSON Lines if the name does not say; None for an unsupported one.

    Athena names unloaded files ``20261121_….gz``.
    """
    base = name.rpartition("/")[2]
    parts = base.lower().split(".")
    packing = _PACKED.get(parts[-1], "") if len(parts) > 1 else ""
    parts = parts[:-1] if packing else parts
    kind = _KINDS.get(parts[-1]) if len(parts) > 1 else "jsonl"
    return Kind(kind, packing) if kind else None


def read_in_a_folder(name: str) -> bool:
    """Whether a file is read if its folder is the source.

    Plain text, files without a suffix, and files whose name or folder begins with a dot or an underscore, as engines
    and editors write them, are not read.

    :param name: its name in that folder.
    """
    parts, found = name.split("/"), kind_of(name)
    return (
        found is not None
        and found.kind != "txt"
        and "." in parts[-1]
        and not any(part.startswith(("_", ".")) for part in parts)
    )


def as_source(name: str, path: Path, folder: Path) -> Source:
    """Return a file as JSON Lines.

    :param name: its name, which decides its kind.
    :param folder: the folder to write to, if it must be converted.
    :raises DatasetError: the content of the file does not match its name, or its kind is not supported.
    """
    kind = kind_of(name)
    if kind is None:
        raise DatasetError(f"{name} is not of a supported type: {', '.join(_KINDS)}, also .gz and .zst")
    packing = packing_of(path) or kind.packing  # the name of an object with a Content-Encoding does not show it
    plain = unpacked(name, path, packing, folder)
    try:
        if kind.kind == "parquet":
            lines = query(f"SELECT * FROM {_table([plain], 'parquet', '')}", [], folder)  # noqa: S608 - a path, quoted
        elif kind.kind == "jsonl" or (kind.kind == "json" and not _is_array(plain)):
            return Source(name, plain)
        else:
            with plain.open(encoding="utf-8-sig", newline="") as text:
                lines = write_records(_READERS[kind.kind](text), folder)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{name} is not in UTF-8. Save it as UTF-8") from error
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error
    if plain != path:
        plain.unlink()
    return Source(name, lines)


def unpacked(name: str, path: Path, packing: str, folder: Path) -> Path:
    """Return a file, or its decompressed copy if it is compressed.

    :param packing: ``gzip``, ``zstd``, or empty.
    :raises DatasetError: it cannot be decompressed.
    """
    if not packing:
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

    def lines() -> Iterator[bytes]:
        for one in records:
            try:
                yield encode(one) + b"\n"
            except (OverflowError, UnicodeEncodeError):  # half of a surrogate pair, or a number of more than 64 bits
                yield json.dumps(one, default=str).encode() + b"\n"

    return _written(lines(), folder)


def rows(cursor: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a DB-API cursor, a thousand at a time.

    :raises DatasetError: the statement returns no rows, or two columns have the same name.
    """
    found = cursor.fetchmany(_ROWS)  # PostgreSQL's server-side cursors have no description before
    names = [column[0] for column in cursor.description or ()]
    if not names:
        raise DatasetError("the statement is not a query: it returns no rows")
    _check_different(names, "the query")
    while found:
        for row in found:
            yield dict(zip(names, map(_as_text, row), strict=True))
        found = cursor.fetchmany(_ROWS)


def _as_text(value: Any) -> Any:
    """Return bytes that are UTF-8 as text: many tables hold their texts as binary. JSON would have them in Base64."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        with suppress(UnicodeDecodeError):
            return bytes(value).decode()
    return value


def query(sql: str, sources: Sequence[tuple[str, Path]], folder: Path) -> Path:
    """Write the result of a DuckDB query as JSON Lines, and return the file.

    :param sql: the query, in which the files are the table ``source``.
    :param sources: the files, with the names that decide their kinds.
    :raises DatasetError: DuckDB is not installed, or refuses the query.
    """
    try:
        import duckdb
    except ImportError as error:
        raise DatasetError("Parquet and SQL need DuckDB. Install 'airflow-bedrock[prep]'") from error
    try:
        with duckdb.connect(config={"threads": 2, "memory_limit": "300MB", "temp_directory": str(folder)}) as database:
            if sources:
                tables = " UNION ALL BY NAME ".join(f"SELECT * FROM {table}" for table in _tables(sources, folder))  # noqa: S608 - paths, quoted
                database.execute(f"CREATE VIEW source AS {tables}")
            found = rows(database.execute(sql))
            decode = _json_columns(database, sql)
            decoded = ({**row, **{name: one(row[name]) for name, one in decode.items()}} for row in found)
            return write_records(decoded if decode else found, folder)
    except duckdb.Error as error:
        of_the_query = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
        if isinstance(error, of_the_query):
            raise DatasetError(f"DuckDB: {str(error).partition(chr(10))[0]}") from error
        # The message may quote the data, and so may a traceback.
        raise DatasetError(f"DuckDB: {type(error).__name__}; run the query in DuckDB to see the message") from None


def _json_columns(database: Any, sql: str) -> dict[str, Callable[[Any], Any]]:
    """Return the columns of an executed query that hold JSON, each with the function that decodes its values.

    DuckDB reads what is now a text and now a list as JSON, and returns JSON as text: a text gets quotes.
    """
    import duckdb

    columns = database.description or ()
    types = [column[1] for column in columns]
    if any(isinstance(kind, str) for kind in types):  # before DuckDB 2
        types = []
        with suppress(duckdb.Error):  # one of several statements cannot be run twice
            types = getattr(database.cursor().sql(sql), "types", [])
    decode = {column[0]: _json_decoder(kind) for column, kind in zip(columns, types, strict=False)}
    return {name: one for name, one in decode.items() if one is not None}


def _json_decoder(kind: Any, *, within: bool = False) -> Callable[[Any], Any] | None:
    """Return the function that decodes the JSON in values of a type; None if the type has no JSON.

    :param within: whether the type is of a part of a column. A column that is an object stays text: to_json makes one.
    """
    if str(kind) == "JSON":
        return _decoded if within else _unquoted
    if kind.id not in ("list", "struct"):
        return None
    parts = {name: _json_decoder(part, within=True) for name, part in kind.children}
    decode = {name: one for name, one in parts.items() if one is not None}
    if not decode:
        return None
    if kind.id == "list":
        (item,) = decode.values()
        return lambda value: value and [item(one) for one in value]
    return lambda value: value and {**value, **{name: one(value[name]) for name, one in decode.items()}}


def _decoded(text: str | None) -> Any:
    return text and json.loads(text)


def _unquoted(text: str | None) -> Any:
    return json.loads(text) if text and text.startswith('"') else text


def _tables(sources: Sequence[tuple[str, Path]], folder: Path) -> Iterator[str]:
    """Yield the DuckDB expressions for files, in their order.

    Files of a kind that follow each other are one table, so that DuckDB finds types that suit all of them, and needs
    the memory of one: a chat's content may be a text in one file, and a list in the next.
    """

    def kind(source: tuple[str, Path]) -> tuple[str, str]:
        of, packing = _kind_and_packing(*source)
        return ("json", "") if of in ("json", "jsonl") else (of, packing)

    for (of, packing), run in groupby(sources, kind):
        files = list(run)
        if of != "json":
            yield _table([path for _, path in files], of, packing)
        elif len(files) == 1:
            yield _table([files[0][1]], of, _kind_and_packing(*files[0]).packing)
        else:
            yield f"read_json_auto({_quoted([_as_one(files, folder)])}, format = 'unstructured', sample_size = -1)"


def _kind_and_packing(name: str, path: Path) -> Kind:
    kind, packing = kind_of(name) or Kind("", "")
    return Kind(kind, packing_of(path) or packing)


def _as_one(sources: Sequence[tuple[str, Path]], folder: Path) -> Path:
    """Return JSON files as one, since DuckDB takes 32 MB for each: arrays as JSON Lines, others as they are."""

    def parts() -> Iterator[bytes]:
        for name, path in sources:
            plain = unpacked(name, path, _kind_and_packing(name, path).packing, folder)
            with plain.open("rb") as file:
                if file.read(_CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
                    with plain.open(encoding="utf-8-sig") as text:
                        lines = write_records(_array(text), folder)
                    yield from _chunks(lines)
                    lines.unlink()
                else:
                    yield from _chunks(plain)
                    yield b"\n"
            if plain != path:
                plain.unlink()

    return _written(parts(), folder)


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, without a byte order mark."""
    with path.open("rb") as file:
        yield without_bom(file.read(_CHUNK))
        yield from iter(partial(file.read, _CHUNK), b"")


def _table(paths: Sequence[Path], kind: str, packing: str) -> str:
    """Return the DuckDB expression for files of one kind."""
    where = _quoted(paths)
    packed = f", compression = '{packing}'" if packing else ""
    several = ", union_by_name = true" if len(paths) > 1 else ""
    if kind == "json":  # a member that is not in the sample would be left out
        return f"read_json_auto({where}, format = 'auto', sample_size = -1{packed})"
    if kind in ("csv", "tsv"):
        return f"read_csv_auto({where}{packed}{several}, auto_type_candidates = {_CSV_TYPES})"
    if kind == "parquet":
        return f"read_parquet({where}{several})"
    raise DatasetError(f"{paths[0].name} is not a table that DuckDB can read")


def _quoted(paths: Sequence[Path]) -> str:
    """Return paths as a list in SQL."""
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"


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
    """Whether the first character that is not white space begins an array.

    :raises DatasetError: it begins an object that spans several lines.
    """
    with path.open("rb") as file:
        line, *more = file.read(_CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)
    if more and line[:1] == b"{" and line.rstrip()[-1:] in (b"{", b"[", b","):
        raise DatasetError("it is one object over several lines. Save only its array of records")
    return line[:1] == b"["


def _csv(text: IO[str], delimiters: str = ",;\t|") -> Iterator[dict[str, Any]]:
    """Yield the rows; an unclosed quote, which would make the rest of the file one field, is an error.

    In locales with a decimal comma, spreadsheets write semicolons; a line ``sep=;`` before the header is for them.

    :param delimiters: the candidates; the first one that splits the header into the most fields is the delimiter.
    """
    csv.field_size_limit(_LONGEST_FIELD)  # for the whole process: Python has no limit for one reader
    header = text.readline()
    if re.fullmatch(r"sep=.\s*", header):
        header = text.readline()
    delimiter = max(delimiters, key=partial(_fields, header))
    found = csv.DictReader(
        chain([header], text),
        restkey=MORE_FIELDS,
        delimiter=delimiter,
        # Without it, the second field of `"a", "b"` would begin with a space and have the quotes in it.
        skipinitialspace=f"{delimiter} " in header,
        strict=True,
    )
    try:
        _check_different(found.fieldnames or (), "the header")
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


def _fields(header: str, delimiter: str) -> int:
    return len(next(csv.reader([header], delimiter=delimiter), ()))


def _check_different(names: Sequence[str], whose: str) -> None:
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise DatasetError(f"{whose} has two columns named {twice}. Rename one")


def _lines(text: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield each line of plain text that is not blank."""
    for line in text:
        if line.strip():
            yield {"text": line.rstrip("\r\n")}


def _array(text: IO[str]) -> Iterator[Any]:
    """Yield the elements of a JSON array, one after the other."""
    rest, size, begun = "", _CHUNK, False
    while chunk := text.read(size):
        rest += chunk
        if not begun:
            rest, begun = rest.lstrip()[1:], bool(rest.strip())
        elements = _elements(rest, final=False)
        rest = yield from elements
        size = max(_CHUNK, len(rest))  # doubling, so that a long element is not parsed again and again
    rest = yield from _elements(rest, final=True)
    if rest.strip() != "]":
        raise DatasetError(_BROKEN)


def _is_broken(error: Exception, length: int) -> bool:
    """Whether more text cannot complete it. Text that is cut off has its error at its beginning."""
    if not isinstance(error, json.JSONDecodeError):
        return True  # nested too deeply, or a number with thousands of digits
    return not error.msg.startswith("Unterminated string") and error.pos < length - _LONGEST_TOKEN


def _elements(text: str, *, final: bool) -> Generator[Any, None, str]:
    """Yield the complete elements, and return the rest of the text."""
    decode, place = json.JSONDecoder().raw_decode, 0
    while True:
        begin = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]  # it matches even nothing
        try:
            value, end = decode(text, begin)
        except (ValueError, RecursionError) as error:
            if begin < len(text) and text[begin] != "]" and _is_broken(error, len(text)):
                raise DatasetError(_BROKEN) from None
            return text[place:]
        if end == len(text) and not final:
            return text[place:]  # a number may continue
        yield value
        place = end


_READERS: dict[str, Callable[[IO[str]], Iterator[Any]]] = {
    "json": _array,
    "csv": _csv,
    "tsv": partial(_csv, delimiters="\t"),
    "txt": _lines,
}
