"""The rows of a query: of DuckDB over files, or of a database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_bedrock.datasets.errors import DatasetError

_ROWS = 1000  # at a time
_RESULT = "_result"
_NO_QUERY = "the statement is not a query: it returns no rows"


def rows(cursor: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a DB-API cursor, a thousand at a time.

    :raises DatasetError: the statement returns no rows, or two columns have the same name.
    """
    found = cursor.fetchmany(_ROWS)  # PostgreSQL's server-side cursors have no description before
    names = [column[0] for column in cursor.description or ()]
    if not names:
        raise DatasetError(_NO_QUERY)
    check_different(names, "the query")
    while found:
        for row in found:
            yield dict(zip(names, map(_as_text, row), strict=True))
        found = cursor.fetchmany(_ROWS)


def select(sql: str, folder: Path, source: str = "") -> Iterator[dict[str, Any]]:
    """Yield the rows of a DuckDB query.

    :param folder: for what does not fit into the memory.
    :param source: the query that the table ``source`` stands for; empty for none.
    :raises DatasetError: DuckDB is not installed, or refuses the query.
    """
    try:
        import duckdb
    except ImportError as error:
        raise DatasetError("Parquet and SQL need DuckDB. Install 'airflow-bedrock[prep]'") from error
    try:
        with duckdb.connect(config={"threads": 2, "memory_limit": "300MB", "temp_directory": str(folder)}) as database:
            if source:
                database.execute(f"CREATE VIEW source AS {source}")
            if (relation := database.sql(sql)) is None:
                raise DatasetError(_NO_QUERY)
            check_different(relation.columns, "the query")
            decode = _json_columns(relation)
            relation.create_view(_RESULT)  # only a cursor fetches some rows at a time
            for row in rows(database.execute(f"FROM {_RESULT}")):
                row.update((name, one(row[name])) for name, one in decode.items())
                yield row
    except duckdb.Error as error:
        of_the_query = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
        if isinstance(error, of_the_query):
            raise DatasetError(f"DuckDB: {str(error).partition(chr(10))[0]}") from error
        # The message may quote the data, and so may a traceback.
        raise DatasetError(f"DuckDB: {type(error).__name__}; run the query in DuckDB to see the message") from None


def check_different(names: Sequence[str], whose: str) -> None:
    """Check that no two columns have the same name.

    :raises DatasetError: two have.
    """
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise DatasetError(f"{whose} has two columns named {twice}. Rename one")


def _as_text(value: Any) -> Any:
    """Return bytes that are UTF-8 as text: many tables hold their texts as binary. JSON would have them in Base64."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        with suppress(UnicodeDecodeError):
            return bytes(value).decode()
    return value


def _json_columns(relation: Any) -> dict[str, Callable[[Any], Any]]:
    """Return the columns of a query that hold JSON, each with the function that decodes its values.

    DuckDB reads what is now a text and now a list as JSON, and returns JSON as text: a text gets quotes.
    """
    decode = {name: _json_decoder(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
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
