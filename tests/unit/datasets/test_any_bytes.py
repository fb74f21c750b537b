"""Whatever bytes a file has: preparation, check and estimate say what is wrong, and never fail in another way."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_bedrock.cli import main
from airflow_bedrock.datasets import DatasetError, RecordFormat, Settings, Split, blocks, prepare, rules_for
from airflow_bedrock.datasets.sources import as_source

packed = partial(gzip.compress, mtime=0)  # the time would stand in the names of tests, another in each process
MICRO = "amazon.nova-micro-v1:0"
LINE = b'{"prompt": "Where?", "completion": "Here."}'
CSV = b'prompt,completion\n"Where\nis it?","a ""b"""\n'
KINDS = ("jsonl", "json", "csv", "tsv", "txt", "parquet", "jsonl.gz", "json.gz", "csv.gz", "jsonl.zst", "parquet.gz")


def read(folder: Path, name: str, content: bytes) -> int | None:
    """Prepare a file; return how many records were read, or None where it is refused."""
    (folder / "made").mkdir(exist_ok=True)
    file = folder / "file"
    file.write_bytes(content)
    out = {split: io.BytesIO() for split in Split}
    try:
        source = as_source(name, file, folder / "made")
        report = prepare([source], out, Settings(record_format=RecordFormat.CONVERSE, rules=rules_for(MICRO)))
    except DatasetError as error:
        told = str(error)
    else:
        written = sum(report.records(split) for split in Split)
        assert report.read == written + report.duplicates + report.conflicts + sum(report.dropped.values())
        return report.read
    assert told.startswith(name)
    return None


PIECES = st.sampled_from(
    [
        LINE,
        CSV,
        b"[",
        b"]",
        b",",
        b"{",
        b"}",
        b'"',
        b"\n",
        b"\r",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x00",
        b"\x1f\x8b",
        b"PAR1",
    ]
)
BYTES = st.binary(max_size=100) | st.lists(PIECES, max_size=12).map(b"".join)
PACKED = BYTES | BYTES.map(packed) | BYTES.map(lambda content: packed(content)[:-5])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=PACKED)
def test_preparation_reads_or_refuses(tmp_path: Path, kind: str, content: bytes) -> None:
    """Each record is accounted for."""
    for package in {"zst": "zstandard", "parquet": "duckdb"}.items():
        if package[0] in kind:
            pytest.importorskip(package[1])
    read(tmp_path, f"data.{kind}", content)


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "records"),
    [
        ("bom.jsonl", b"\xef\xbb\xbf" + LINE, 1),
        ("crlf.jsonl", LINE + b"\r\n" + LINE + b"\r\n", 2),
        ("cr.jsonl", LINE + b"\r" + LINE, 1),  # a line is ended by a newline
        ("utf-16.jsonl", LINE.decode().encode("utf-16"), 1),  # read, and dropped
        ("utf-16.csv", CSV.decode().encode("utf-16"), None),
        ("latin-1.csv", "prompt,completion\nOù?,là\n".encode("latin-1"), None),
        ("newlines.csv", CSV * 2, 3),  # the second header is a record
        ("bom.csv", b"\xef\xbb\xbf" + CSV, 1),
        ("quotes.csv", b'prompt,completion\n"Where,Here\n', None),  # a quote that nothing ends
        ("quotes.tsv", b'prompt\tcompletion\n"Where" is it?\tHere\n', None),
        ("fields.csv", CSV + b"Where, or when?,Here\n", 2),
        ("half.json", b'[{"prompt": "\\ud800", "completion": "b"}]', 1),
        ("half.jsonl", b'{"prompt": "\\ud800", "completion": "b"}', 1),
        ("number.json", b'[{"prompt": "a", "completion": ' + b"9" * 30 + b"}]", 1),
        ("digits.json", b'[{"prompt": "a", "completion": ' + b"9" * 5_000 + b"}]", None),
        ("digits.jsonl", b'{"prompt": "a", "completion": ' + b"9" * 5_000 + b"}", 1),
        ("deep.json", b'[{"prompt": ' + b"[" * 10_000 + b"]" * 10_000 + b"}]", None),
        ("deep.jsonl", b'{"prompt": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 1),
        ("bom.jsonl.gz", packed(b"\xef\xbb\xbf" + LINE), 1),
        ("zstd.jsonl.gz.zst", b"\x28\xb5\x2f\xfd", None),
        ("twice.json", b"[]\n[]", None),
        ("comma.json", b"[" + LINE + b",]", None),
        ("empty.jsonl", b"", 0),
        ("empty.json", b"", 0),
        ("empty.csv", b"", 0),
        ("empty.jsonl.gz", b"", 0),
        ("blank.jsonl", b"\n \n\r\n", 0),
        ("none.json", b"[]", 0),
        ("nested.json", b"[" * 100_000, None),
        ("zip.jsonl", zipped(LINE), None),
        ("twice.jsonl.gz", packed(packed(LINE)), None),
        ("packed.jsonl", packed(LINE), 1),
        ("packed.csv", packed(b"prompt,completion\na,b\nc,d\n"), 2),
        ("members.jsonl.gz", packed(LINE + b"\n") * 2, 2),
        ("truncated.jsonl.gz", packed(LINE * 100)[:-9], None),
        ("huge.jsonl", b'{"prompt": "' + b"a" * 5_000_000 + b'", "completion": "b"}\n' + LINE, 2),
        ("null.jsonl", b"\x00" * 1000, 1),
        ("large.json", b"[" + b",".join([LINE] * 20_000) + b"]", 20_000),
    ],
)
def test_real_world_shapes(tmp_path: Path, name: str, content: bytes, records: int | None) -> None:
    """All records are read, whether they can be used or not; or the file is refused."""
    found = read(tmp_path, name, content)
    if name in ("zip.jsonl", "twice.jsonl.gz"):  # lines that are no records
        assert found is not None
    else:
        assert found == records


COMMANDS: dict[str, Callable[[str, str], list[str]]] = {
    "check": lambda file, _: ["check", file, "--model", MICRO],
    "estimate": lambda file, _: ["estimate", file, "--model", MICRO],
    "prepare": lambda file, out: ["prepare", file, "--output", out, "--model", MICRO],
}


@pytest.mark.parametrize("command", COMMANDS)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=PACKED, suffix=st.sampled_from(["jsonl", "csv", "json.gz", "md"]))
def test_commands_have_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, content: bytes, suffix: str
) -> None:
    """Never a traceback: 0, 1 or 2, and where it is 2 a line that says why."""
    file = tmp_path / f"data.{suffix}"
    file.write_bytes(content)
    code = main(COMMANDS[command](str(file), str(tmp_path / "out")))
    assert code in (0, 1, 2)
    assert code != 2 or str(file) in capsys.readouterr().err


@pytest.mark.parametrize("content", [packed(LINE), b"\x28\xb5\x2f\xfd" + LINE])
def test_a_compressed_file_is_reported_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    """A job takes it for no JSON: neither its lines nor its size, packed or not, say what the job would see."""
    file = tmp_path / "train.jsonl.gz"
    file.write_bytes(content)
    for command in ("check", "estimate"):
        assert main(COMMANDS[command](str(file), "")) == 2
        assert f"{file} is compressed. A customization job needs uncompressed JSON Lines" in capsys.readouterr().err


def test_a_line_that_is_longer_than_a_job_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is one line that is no record, however often it is cut; those after it keep their numbers."""
    monkeypatch.setattr(blocks, "BLOCK", 1_000)
    monkeypatch.setattr(blocks, "LONGEST_LINE", 5_000)
    line = json.dumps({"prompt": "a" * 20_000, "completion": "b"}).encode()
    content = b"\n".join([LINE, line, LINE, b"{", line])
    assert read(tmp_path, "long.jsonl", content) == 5
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    assert main([*COMMANDS["check"](str(file), ""), "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["line"], one["message"][:14]) for one in found["findings"] if one["rule"] == "json"] == [
        (2, "it is longer t"),
        (4, "it is not a JS"),
        (5, "it is longer t"),
    ]
    assert found["files"]["training"]["records"] == 5


def test_a_process_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the kernel does it where memory runs out: said in a line, and another try may help."""

    class Killed(ThreadPoolExecutor):
        def __init__(self, workers: int, **_: Any) -> None:
            super().__init__(workers)

        def submit(self, *_: Any, **__: Any) -> Any:
            failed: Future[Any] = Future()
            failed.set_exception(BrokenProcessPool("terminated abruptly"))
            return failed

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", Killed)
    monkeypatch.setattr(blocks, "WORTH_A_POOL", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    file = tmp_path / "train.jsonl"
    file.write_bytes(LINE)
    for command in ("check", "estimate", "prepare"):
        assert main(COMMANDS[command](str(file), str(tmp_path / "out"))) == 2
        assert "a process that read the data was killed" in capsys.readouterr().err


def test_lines_of_a_check_are_those_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """UTF-16 is reported as not JSON."""
    file = tmp_path / "train.jsonl"
    file.write_bytes((LINE + b"\n" + LINE).decode().encode("utf-16"))
    assert main(["check", str(file), "--model", MICRO, "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == {"json": 2}
