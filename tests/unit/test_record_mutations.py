"""One table of changes to a record, each with what AWS does and its source, checked by Local Bedrock and datasets."""

from __future__ import annotations

import copy
import io
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody

from airflow_bedrock.base_models import BaseModel, Method, base_model
from airflow_bedrock.datasets import RecordFormat, Settings, Source, Split, prepare
from airflow_bedrock.datasets.checking import check
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.local.work.data import MediaCheck
from airflow_bedrock.local.work.records import DataError, read_records
from airflow_bedrock.local.work.s3 import read_lines

TABLE = tomllib.loads(Path(__file__).with_name("record_mutations.toml").read_text(encoding="utf-8"))

MODELS = {
    "nova": "amazon.nova-lite-v1:0",
    "nova-2": "amazon.nova-2-lite-v1:0",
    "llama": "meta.llama3-2-11b-instruct-v1:0",
    "llama-3-1": "meta.llama3-1-8b-instruct-v1:0",
    "claude": "anthropic.claude-3-haiku-20240307-v1:0",
    "distillation": "amazon.nova-lite-v1:0",
    "reinforcement": "amazon.nova-2-lite-v1:0",
    "pre-training": "amazon.titan-text-lite-v1",
    "image": "amazon.nova-canvas-v1:0",
}
METHODS = {
    "distillation": "DISTILLATION",
    "reinforcement": "REINFORCEMENT_FINE_TUNING",
    "pre-training": "CONTINUED_PRE_TRAINING",
}
Row = tuple[str, dict[str, Any]]
ROWS: list[Row] = [(base, row) for row in TABLE["mutations"] for base in row["base"]]


class Objects:
    """An S3 where everything is there, and small."""

    def head_object(self, **_: str) -> dict[str, int]:
        return {"ContentLength": 1}


class Sized:
    """An S3 whose objects have a size, and one line."""

    def __init__(self, size: int) -> None:
        self._size = size

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"ContentLength": self._size, "Body": StreamingBody(io.BytesIO(b"{}"), 2)}


def name(row: Row) -> str:
    return f"{row[0]}: {row[1]['name']}"


def lines(base: str, row: dict[str, Any]) -> Iterator[bytes]:
    """The changed record, and the other records that the row brings along."""
    for changes in [row, *({"set": one} for one in row.get("others", []))]:
        record = copy.deepcopy(TABLE["records"].get(base, TABLE["records"]["nova"]))
        for path, value in changes.get("set", {}).items():
            put(record, path, value * row["repeat"] if "repeat" in row else value)
        for path in changes.get("null", []):
            put(record, path, None)
        for name in changes.get("remove", []):
            del record[name]
        yield json.dumps(record).encode()


def put(record: Any, path: str, value: Any) -> None:
    *above, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in above:
        record = record[step]
    record[last] = value


def model_of(base: str) -> BaseModel:
    model = base_model(MODELS[base])
    assert model is not None
    return model


def method_of(base: str) -> Method:
    return model_of(base).methods[METHODS.get(base, "FINE_TUNING")]


def refusal(base: str, data: list[bytes]) -> str | None:
    """What Local Bedrock's job says of the data, if it fails."""
    method = method_of(base)
    rules = Rules(method, model_of(base).input, "data")
    media = MediaCheck(method, Objects(), lambda uri: True)
    try:
        list(read_records(data, "s3://data/train.jsonl", rules, media))
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("base", "row"), ROWS, ids=map(name, ROWS))
def test_local_bedrock_does_what_aws_does(base: str, row: dict[str, Any]) -> None:
    """The job takes or refuses the data as AWS does, and says why."""
    message = refusal(base, list(lines(base, row)))
    assert (message is None) is row["taken"], message
    assert row.get("says", "") in (message or "")
    assert row["source"]


@pytest.mark.parametrize(("base", "row"), ROWS, ids=map(name, ROWS))
def test_the_check_agrees_with_local_bedrock(tmp_path: Path, base: str, row: dict[str, Any]) -> None:
    """The check of a dataset finds a problem where AWS does, and nowhere else; what Local Bedrock says is among it."""
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"".join(line + b"\n" for line in lines(base, row)))
    report = check({"training": file}, Rules(method_of(base), model_of(base).input, "data"))
    found = [one.message for one in report.findings] + [
        one for one in report.dataset_problems if "number of" not in one
    ]
    assert (not found) is row["taken"], found
    said = [*found, *(finding.where for finding in report.findings)]
    assert row["taken"] or any(row["says"] in one for one in said) or "must follow" in row["says"]


@pytest.mark.parametrize(("base", "row"), ROWS, ids=map(name, ROWS))
def test_data_preparation_agrees_with_local_bedrock(tmp_path: Path, base: str, row: dict[str, Any]) -> None:
    """Data preparation writes no record that a job would fail on, and drops none that it can write and a job takes."""
    method = method_of(base)
    rules = Rules(method, model_of(base).input, "data")
    file = tmp_path / "in.jsonl"
    file.write_bytes(b"".join(line + b"\n" for line in lines(base, row)))
    out = tmp_path / "out.jsonl"
    with out.open("wb") as written:
        settings = Settings(
            record_format=RecordFormat(method.format), rules=rules, validation_fraction=0, test_fraction=0
        )
        report = prepare([Source("in", file)], dict.fromkeys(Split, written), settings)
    if "others" not in row:  # images here, and videos there, are a matter of the whole dataset
        assert refusal(base, out.read_bytes().splitlines()) is None
    if report.dropped and row["taken"]:
        assert any(part in rule for rule in report.dropped for part in NOT_CARRIED), report.dropped


NOT_CARRIED = ("empty", "tools", "messages: ", "content: ", "blocks", "turn must have text")
"""What preparation drops though a job may take it: texts without anything in them, and tools."""


@pytest.mark.parametrize("row", TABLE["volumes"])
def test_volumes(row: dict[str, Any]) -> None:
    """So many records, or so large a file, are taken or refused as AWS does; data preparation counts alike."""
    method = method_of(row["base"])
    problem = method.count_problem(row["training"], row.get("validation", 0))
    try:
        list(read_lines(Sized(row.get("bytes", 1)), "s3://data/train.jsonl", method.max_bytes))
    except DataError as error:
        problem = str(error)
    assert (problem is None) is row["taken"], problem
    assert row.get("says", "") in (problem or "")


def test_the_table_is_large_and_each_row_once() -> None:
    """About sixty changes at least, for each kind of base; none stands twice."""
    named = [(base, row["name"]) for row in TABLE["mutations"] for base in row["base"]]
    assert len(TABLE["mutations"]) >= 60
    assert len(named) == len(set(named))
    assert {base for base, _ in named} == set(MODELS)
    assert all(row["taken"] or row["says"] for row in TABLE["mutations"])
