"""The rows of a query: of DuckDB over files, or of a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

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
            kinds = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
            relation.create_view(_RESULT)  # only a cursor fetches some rows at a time
            selected = f"SELECT {', '.join(map(_column, kinds, kinds.values()))} FROM {_RESULT}"  # noqa: S608 - quoted
            has_json = [name for name, kind in kinds.items() if kind != "JSON" and "JSON" in kind]
            for row in rows(database.execute(selected)):
                yield row | {name: msgspec.Raw((row[name] or "null").encode()) for name in has_json}
    except duckdb.Error as error:
        of_the_query = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
        if isinstance(error, of_the_query):
            raise DatasetError(f"DuckDB: {str(error).partition(chr(10))[0]}") from error
        # The message may quote the data, and so may a traceback.
        raise DatasetError(f"DuckDB: {type(error).__name__}; run the query in DuckDB to see the message") from None


def _column(name: str, kind: str) -> str:
    """Return the SQL of a column.

    DuckDB reads what is now a text and now a list as JSON, and returns JSON as text: a text would get quotes. A column
    that is an object stays text, since to_json makes one; a list or an object that has JSON in it becomes JSON.
    """
    column = '"' + name.replace('"', '""') + '"'
    value = f"{column} ->> '$'" if kind == "JSON" else f"to_json({column})" if "JSON" in kind else column
    return f"{value} AS {column}"


def quoted(path: Path) -> str:
    """Return a path as a text in SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def check_different(names: Sequence[str], whose: str) -> None:
    """Check that no two columns have the same name.

    :raises DatasetError: two have.
    """
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise DatasetError(f"{whose} has two columns named {twice}. Rename one")


def _as_text(value: Any) -> Any:
    """Return bytes that are UTF-8 as text: JSON would have them in Base64."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        with suppress(UnicodeDecodeError):
            return bytes(value).decode()
    return value
