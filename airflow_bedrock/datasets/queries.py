"""The rows of a query: of DuckDB over files, or of a database."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_bedrock.datasets.errors import DatasetError

_ROWS = 1000  # at a time
_RESULT = "_result"
_NO_QUERY = "the statement is not a query: it returns no rows"
_FINITE = "CASE WHEN isfinite({0}) THEN {0} END"
_AS_JSON = {
    "json": "{0} ->> '$'",  # an object stays text: to_json makes one; a text gets no quotes
    "blob": "try(decode({0}))",  # many tables hold their texts as binary
    "decimal": "{0}::VARCHAR",  # 1.50 is not 1.5
    "float": _FINITE,
    "double": _FINITE,  # NaN is not JSON
}
"""How a column is written whose type DuckDB would write as something else, by its type."""


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


def write_result(sql: str, folder: Path, source: str = "") -> Path:
    """Write the rows of a DuckDB query as JSON Lines, and return the file.

    :param folder: for the file, and for what does not fit into the memory.
    :param source: the query that the table ``source`` stands for; empty for none.
    :raises DatasetError: DuckDB is not installed, or refuses the query.
    """
    try:
        import duckdb
    except ImportError as error:
        raise DatasetError("Parquet and SQL need DuckDB. Install 'airflow-bedrock[prep]'") from error
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".jsonl", delete=False) as file:
        path = Path(file.name)
    try:
        with duckdb.connect(config={"threads": 2, "memory_limit": "300MB", "temp_directory": str(folder)}) as database:
            if source:
                database.execute(f"CREATE VIEW source AS {source}")
            if (relation := database.sql(sql)) is None:
                raise DatasetError(_NO_QUERY)
            check_different(relation.columns, "the query")
            columns = ", ".join(map(_column, relation.columns, relation.types))
            relation.create_view(_RESULT)
            database.execute(f"COPY (SELECT {columns} FROM {_RESULT}) TO {quoted(path)} (FORMAT json)")  # noqa: S608 - quoted
    except duckdb.Error as error:
        of_the_query = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
        if isinstance(error, of_the_query):
            raise DatasetError(f"DuckDB: {str(error).partition(chr(10))[0]}") from error
        # The message may quote the data, and so may a traceback.
        raise DatasetError(f"DuckDB: {type(error).__name__}; run the query in DuckDB to see the message") from None
    return path


def _column(name: str, kind: Any) -> str:
    """Return the SQL of a column as it is written."""
    identifier = '"' + name.replace('"', '""') + '"'
    value = _AS_JSON.get("json" if str(kind) == "JSON" else kind.id, "{0}").format(identifier)
    return f"{value} AS {identifier}"


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
