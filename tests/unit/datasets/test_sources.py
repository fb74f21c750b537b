"""Sources: every kind of file comes to the same records, whatever it is packed in."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.datasets import DatasetError
from airflow_bedrock.datasets import sources as sources_module
from airflow_bedrock.datasets.queries import rows
from airflow_bedrock.datasets.reading import FEWER_FIELDS, MORE_FIELDS
from airflow_bedrock.datasets.sources import as_source, kind_of, query, read_in_a_folder, write_records

packed = partial(gzip.compress, mtime=0)  # the time would stand in the names of tests, another in each process
RECORDS = [{"prompt": f"Où est n° {n}?", "completion": 'a "b"\nc'} for n in range(5)]
CSV = "prompt,completion\n" + "".join(f'{one["prompt"]},"a ""b""\nc"\n' for one in RECORDS)
CONTENT = {
    "jsonl": "".join(json.dumps(one) + "\n" for one in RECORDS),
    "NDJSON": "".join(json.dumps(one) + "\n" for one in RECORDS),
    "json": json.dumps(RECORDS, indent=1),
    "csv": "\ufeff" + CSV,
    "tsv": CSV.replace(",", "\t"),
    "CSV": CSV.replace(",", ";"),
}


def zstd(content: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").compress(content))


def read(folder: Path, name: str, content: bytes) -> list[Any]:
    made = folder / "made"
    made.mkdir(parents=True)
    file = folder / "file"
    file.write_bytes(content)
    source = as_source(name, file, made)
    assert source.name == name
    return [json.loads(line) for line in source.path.read_bytes().splitlines()]


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", packed), (".zst", zstd), (".GZ", packed)])
@pytest.mark.parametrize("kind", CONTENT)
def test_every_kind(tmp_path: Path, kind: str, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    """Whatever the kind and the packing, and the case of the name: the records."""
    assert read(tmp_path, f"data.{kind}{suffix}", pack(CONTENT[kind].encode())) == RECORDS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_the_header_shows_the_delimiter(tmp_path: Path, delimiter: str, before: str) -> None:
    """As spreadsheets write it, also where each field is in quotes: a comma in a text decides nothing."""
    rows = [("prompt", "completion"), *(("a, b; c\t| d", f"e {number}, f") for number in range(3))]
    content = before + "".join(delimiter.join(f'"{one}"' for one in row) + "\r\n" for row in rows)
    assert read(tmp_path, "x.csv", content.encode()) == [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def test_a_space_after_each_delimiter_is_not_in_the_text(tmp_path: Path) -> None:
    """Otherwise a text would begin with a space, and have its quotes in it. A tab-separated header may have commas."""
    assert read(tmp_path, "x.csv", b'prompt, completion\n"a", "b, c"\n') == [{"prompt": "a", "completion": "b, c"}]
    tsv = "question, or not\tcompletion\na\tb\n"
    assert read(tmp_path / "tsv", "x.tsv", tsv.encode()) == [{"question, or not": "a", "completion": "b"}]


def test_a_name_that_says_more_than_the_content(tmp_path: Path) -> None:
    """What was decompressed on its way, and kept its name, is read as it is."""
    assert read(tmp_path, "data.jsonl.gz", CONTENT["jsonl"].encode()) == RECORDS


def test_the_content_of_json_decides(tmp_path: Path) -> None:
    """It may be an array or JSON Lines, whatever its name says."""
    assert read(tmp_path, "x.json", CONTENT["jsonl"].encode()) == RECORDS
    assert read(tmp_path / "array", "x.jsonl", CONTENT["json"].encode()) == RECORDS


def test_parquet_and_queries(tmp_path: Path) -> None:
    """Parquet is read, and a query over files of several kinds finds what it asks for."""
    duckdb = pytest.importorskip("duckdb")
    (tmp_path / "a.jsonl").write_text(CONTENT["jsonl"])
    parquet = tmp_path / "a.parquet"
    duckdb.read_json(f"{tmp_path}/a.jsonl").write_parquet(str(parquet))
    assert read(tmp_path, "x.parquet", parquet.read_bytes()) == RECORDS
    assert read(tmp_path / "packed", "x.parquet.gz", packed(parquet.read_bytes())) == RECORDS
    (tmp_path / "b.csv").write_text("prompt,stars\nWhere?,5\nWho?,1\n")
    folder = tmp_path / "found"
    folder.mkdir()
    files = [("a.jsonl", tmp_path / "a.jsonl"), ("b.csv", tmp_path / "b.csv"), ("c.parquet", parquet)]
    found = query("SELECT count(*) AS n, max(stars) AS most FROM source", files, folder)
    assert json.loads(found.read_bytes()) == {"n": 12, "most": 5}
    for _, file in files:  # the names do not say it
        file.write_bytes(packed(file.read_bytes()))
    assert json.loads(query("SELECT count(*) AS n FROM source", files, folder).read_bytes()) == {"n": 12}
    with pytest.raises(DatasetError, match=r"DuckDB: .*nowhere"):
        query("SELECT * FROM nowhere", files, folder)
    with pytest.raises(DatasetError, match="ConversionException") as caught:
        query("SELECT prompt::INT FROM source", files, folder)
    assert "Where" not in str(caught.value)


def test_a_query_over_many_files(tmp_path: Path) -> None:
    """DuckDB would take 32 MB for each JSON file; a member may appear late, or have another type in another file."""
    pytest.importorskip("duckdb")
    texts = {
        "a.json": json.dumps([{"prompt": "a", "answer": {"is": "x"}}], indent=1),
        "b.jsonl": '\ufeff{"prompt": "b", "answer": {"is": "x"}}',
        "c.jsonl": "",
        **{f"d{n:02}.jsonl": json.dumps({"prompt": f"d{n}", "answer": {"is": "x"}}) + "\n" for n in range(30)},
        "e.json": '{"prompt": "e", "answer": {"is": ["x"]},\n "late": true}',
        **{f"f{n:02}.csv": f"prompt\nf{n}\n" for n in range(30)},
    }
    files = [(name, tmp_path / name) for name in texts]
    for name, path in files:
        path.write_text(texts[name], encoding="utf-8")
    (tmp_path / "g.jsonl.gz").write_bytes(packed(b'{"prompt": "g"}'))
    files.append(("g.jsonl.gz", tmp_path / "g.jsonl.gz"))
    found = [*map(json.loads, query("SELECT * FROM source", files, tmp_path).read_text("utf-8").splitlines())]
    numbers = range(30)
    expected = ["a", "b", *(f"d{n}" for n in numbers), "e", *(f"f{n}" for n in numbers), "g"]
    assert [one["prompt"] for one in found] == expected
    assert [one["prompt"] for one in found if one["late"]] == ["e"]
    assert [one["answer"]["is"] for one in found if one["answer"]] == [*["x"] * 32, ["x"]]


def test_a_query_of_several_statements_runs_each_once(tmp_path: Path) -> None:
    """The last one must return rows."""
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    files = [("a.csv", tmp_path / "a.csv")]
    found = query("CREATE TABLE t AS SELECT * FROM source; SELECT sum(n)::INT AS n FROM t", files, tmp_path)
    assert found.read_text() == '{"n":3}\n'
    for sql in ("", "CREATE TABLE t AS SELECT * FROM source"):
        with pytest.raises(DatasetError):
            query(sql, files, tmp_path)


def test_a_query_may_return_more_than_fits_into_the_memory(tmp_path: Path) -> None:
    """Its rows are written as they come, and in order."""
    pytest.importorskip("duckdb")
    text = "x" * 20_000
    (tmp_path / "a.jsonl").write_text("".join(f'{{"n":{number},"prompt":"{text}"}}\n' for number in range(5_000)))
    with query("SELECT * FROM source", [("a.jsonl", tmp_path / "a.jsonl")], tmp_path).open() as lines:
        assert all(line.startswith(f'{{"n":{number},') for number, line in enumerate(lines))


def test_a_query_names_the_file_that_is_not_in_utf_8(tmp_path: Path) -> None:
    """A query converts arrays as a preparation without a query does."""
    (tmp_path / "a.json").write_bytes('[{"a": "ü"}]'.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"a\.json is not in UTF-8\. Save it as UTF-8"):
        query("SELECT * FROM source", [("a.json", tmp_path / "a.json")], tmp_path)


@pytest.mark.parametrize("rows", [2, 25_000])
def test_a_query_over_csv_reads_the_header_and_every_row(tmp_path: Path, rows: int) -> None:
    """Also if the header does not name pandas' index, and if a column of numbers has a text at its end."""
    pytest.importorskip("duckdb")
    numbers = "".join(f"{n},Is {n} even?,{n}\n" for n in range(rows))
    (tmp_path / "a.csv").write_text(f",text,label\n{numbers}{rows},Who?,me\n")
    found = query("SELECT text, label FROM source", [("a.csv", tmp_path / "a.csv")], tmp_path)
    assert [json.loads(line) for line in found.read_text().splitlines()] == [
        *({"text": f"Is {n} even?", "label": str(n)} for n in range(rows)),
        {"text": "Who?", "label": "me"},
    ]


def test_a_query_returns_labels_as_they_are(tmp_path: Path) -> None:
    """Yes and no stay what they are, and can be compared as booleans."""
    pytest.importorskip("duckdb")
    (tmp_path / "a.csv").write_text("prompt,label,good,n\nWhere?,yes,true,1\nWho?,no,true,2\nWhat?,yes,false,3\n")
    found = query("SELECT * FROM source WHERE good AND n < 3", [("a.csv", tmp_path / "a.csv")], tmp_path)
    assert [json.loads(line)["label"] for line in found.read_text().splitlines()] == ["yes", "no"]


def test_a_query_returns_texts_as_they_are(tmp_path: Path) -> None:
    """DuckDB reads what is now a text and now a list as JSON; its text would have quotes, and lists would be text."""
    pytest.importorskip("duckdb")
    blocks = [{"type": "text", "text": 'a "b"'}]
    rows: list[dict[str, Any]] = [
        {"turns": [{"content": blocks}, {"content": "é"}], "x": {"y": [["a"], "b"]}, "answer": "yes"},
        {"turns": [{"content": 'c "d"'}, {"content": None}], "x": {"y": ["c", 2]}, "answer": ["no"]},
        {"turns": None, "x": None, "answer": None},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = query("SELECT *, to_json(turns) AS made FROM source", [("a.jsonl", tmp_path / "a.jsonl")], tmp_path)
    first, second, third = map(json.loads, found.read_text().splitlines())
    assert {**rows[0], "made": first["made"]} == first
    assert json.loads(first["made"]) == rows[0]["turns"]
    assert {**rows[1], "answer": '["no"]', "made": second["made"]} == second
    assert (third["turns"], third["x"], third["answer"]) == (None, None, None)


def test_a_query_returns_numbers_as_json_has_them(tmp_path: Path) -> None:
    """JSON has no NaN, and 1.50 is not 1.5; bytes that are no text are in Base64."""
    pytest.importorskip("duckdb")
    (tmp_path / "a.csv").write_text("prompt\nWhere?\n")
    sql = r"SELECT 'nan'::DOUBLE AS n, 2.5::FLOAT AS f, 1.50::DECIMAL(5, 2) AS price, '\xFF\x00'::BLOB AS image"
    assert json.loads(query(f'{sql}, 1 AS "a""b"', [("a.csv", tmp_path / "a.csv")], tmp_path).read_text()) == {
        "n": None,
        "f": 2.5,
        "price": "1.50",
        "image": "/wA=",
        'a"b': 1,
    }


def test_plain_text(tmp_path: Path) -> None:
    """Each line that is not blank is a record."""
    assert read(tmp_path, "x.txt", b"One.\n\n Two.\r\n") == [{"text": "One."}, {"text": " Two."}]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b.JSONL", "json"),
        ("b.jsonl.gz", "json"),
        ("c.tar.gz", None),
        ("20261121_000000_00001_abcde.gz", "json"),  # as Athena calls what it unloads
        ("gz", "json"),
        ("part-00000", "json"),
        ("d.md", None),
        ("train.jsonl.out", "json"),  # as batch inference calls its output
        ("manifest.json.out", None),
    ],
)
def test_kinds_by_name(name: str, kind: str | None) -> None:
    """In any case; what has no suffix is JSON."""
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "_SUCCESS",
        "part-0",
        "a.jsonl.out",
        "a/.part.json",
        "_temporary.csv",
        "a.md",
        "_delta_log/0.json",
        ".git/a/b.json",
    ],
)
def test_what_has_to_be_named(name: str) -> None:
    """In a folder it is more likely no data."""
    assert read_in_a_folder("a.csv")
    assert not read_in_a_folder(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.md", b"# Data"),
        ("x.csv", b"\xff\xfe\x00"),
        ("x.json", b'[{"a": 1}, {"a": '),
        ("x.json.gz", packed(b"[1]")[:-6]),
    ],
)
def test_what_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes) -> None:
    """It is refused, by its name."""
    with pytest.raises(DatasetError):
        read(tmp_path, name, content)


VALUES = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8), st.lists, max_leaves=8)


ELEMENTS = st.lists(VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=8)


@settings(max_examples=60)
@given(records=ELEMENTS, size=st.integers(1, 9))
def test_arrays_in_pieces(tmp_path_factory: pytest.TempPathFactory, records: list[Any], size: int) -> None:
    """Wherever a chunk ends, the elements are those of the array."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_module, "_CHUNK", size)
        content = json.dumps(records, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if b"\xed" in content:
            return  # no UTF-8
        array = tmp_path_factory.mktemp("array") / "x.json"
        array.write_bytes(content)
        with array.open(encoding="utf-8", newline="") as text:
            assert [*map(json.loads, sources_module._elements(text))] == records


def test_a_broken_array_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded: a missing quote in a large file makes the rest of it one element."""
    monkeypatch.setattr(sources_module, "_CHUNK", 8)
    monkeypatch.setattr(sources_module, "_LONGEST_ELEMENT", 64)
    text = io.StringIO('[{"a": 1}, {"a: 2}' + ', {"a": x}' * 1000 + "]")
    with pytest.raises(DatasetError, match="the JSON array is broken"):
        list(sources_module._elements(text))
    assert text.tell() < 300


def test_rows_of_a_database(tmp_path: Path) -> None:
    """A cursor's rows are streamed, by the names of their columns."""
    database = sqlite3.connect(":memory:")
    try:
        sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 2500) SELECT x, 'a' AS text FROM n"
        cursor = database.execute(sql)
        lines = write_records(rows(cursor), tmp_path).read_bytes().splitlines()
    finally:
        database.close()
    assert len(lines) == 2500
    assert json.loads(lines[-1]) == {"x": 2500, "text": "a"}


def test_texts_that_a_table_holds_as_binary(tmp_path: Path) -> None:
    """As Parquet of older engines does. Bytes that are no text, such as an image, are no harm."""
    with closing(sqlite3.connect(":memory:")) as database:
        found = database.execute("SELECT CAST('Où?' AS BLOB) AS prompt, x'FF00' AS image, NULL AS more")
        [record] = map(json.loads, write_records(rows(found), tmp_path).read_bytes().splitlines())
    assert (record["prompt"], record["more"]) == ("Où?", None)
    duckdb = pytest.importorskip("duckdb")
    parquet = tmp_path / "a.parquet"
    duckdb.sql("SELECT encode('Où?') AS prompt").write_parquet(str(parquet))
    assert read(tmp_path, "x.parquet", parquet.read_bytes()) == [{"prompt": "Où?"}]


def test_a_query_that_cannot_be_read(tmp_path: Path) -> None:
    """Of two columns with one name, one would be lost; a statement without rows is no source."""
    with closing(sqlite3.connect(":memory:")) as database:
        for sql, message in (
            ("SELECT 1 AS a, 2 AS b, 3 AS a", "two columns named a"),
            ("CREATE TABLE t (a)", "it returns no rows"),
        ):
            with pytest.raises(DatasetError, match=message):
                write_records(rows(database.execute(sql)), tmp_path)


def test_rows_of_a_table_that_are_not_what_the_header_says(tmp_path: Path) -> None:
    """A comma outside of quotes does not cut a text in two silently; what ends with commas has no more fields."""
    content = b"prompt,completion\nWhere, please?,Here.\nWho?,Me.,,\nWhy?\n"
    assert read(tmp_path, "x.csv", content) == [
        {MORE_FIELDS: True},
        {"prompt": "Who?", "completion": "Me."},
        {FEWER_FIELDS: True},
    ]
    with pytest.raises(DatasetError, match=r"x\.csv: the header has two columns named prompt"):
        read(tmp_path / "other", "x.csv", b"prompt,prompt\na,b\n")
    with pytest.raises(DatasetError, match=r"x\.tsv: near line \d: .* double the quotes in them"):
        read(tmp_path / "third", "x.tsv", b'prompt\tcompletion\n"Where\tHere.\nWho?\tMe.\n')


def test_a_packed_file_that_is_cut_off(tmp_path: Path) -> None:
    """Wherever it is cut, nothing of it is taken for the whole."""
    lines = "".join(json.dumps({"prompt": f"{n}?", "completion": f"{n}"}) + "\n" for n in range(2000)).encode()
    for suffix, whole in (("gz", packed(lines)), ("zst", zstd(lines))):
        for number, cut in enumerate((1, 3, 10, len(whole) // 2, len(whole) - 5)):
            file = tmp_path / f"{suffix}{number}"
            file.write_bytes(whole[:-cut])
            made = tmp_path / f"made-{suffix}{number}"
            made.mkdir()
            with pytest.raises(DatasetError, match=r"x\.jsonl\.\w+ is truncated\. Copy it again"):
                as_source(f"x.jsonl.{suffix}", file, made)


@pytest.mark.parametrize("pack", [packed, zstd])
def test_a_file_packed_in_parts(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Members of gzip and frames of Zstandard, one after the other, as ``cat`` and parallel packers leave them."""
    suffix = "gz" if pack is packed else "zst"
    content = CONTENT["jsonl"].encode()
    assert read(tmp_path, f"x.jsonl.{suffix}", pack(content[:50]) + pack(b"") + pack(content[50:])) == RECORDS


def test_a_text_that_is_not_utf_8(tmp_path: Path) -> None:
    """What Excel saves as "Unicode text" is refused with what to do."""
    with pytest.raises(DatasetError, match=r"x\.csv is not in UTF-8\. Save it as UTF-8"):
        read(tmp_path, "x.csv", CSV.encode("utf-16"))
