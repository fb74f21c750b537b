"""Limits, as ``base_models.toml`` has them: for each model and method what is just at each of them, and one beyond.

The golden files show each rule by one record; here every number of the table is checked against the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_bedrock.base_models import Method, base_models, document
from airflow_bedrock.datasets import RecordFormat
from airflow_bedrock.datasets.checking import check
from airflow_bedrock.datasets.formats import write
from airflow_bedrock.datasets.reading import Attachment, Conversation, Turn
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.rules.limits import object_problem
from airflow_bedrock.datasets.rules.record import Media

METHODS = {
    f"{model.id} {name}": (method, model.input) for model in base_models() for name, method in model.methods.items()
}
OF_A_RECORD = {
    *("max_tokens", "max_input_tokens", "max_output_tokens", "max_line_bytes", "min_text", "max_text"),
    *("max_images", "max_videos", "max_documents"),
}
OF_A_DATASET = {"min_records", "max_records", "max_validation_records", "max_bytes", "max_validation_bytes"}
OF_AN_OBJECT = {"max_image_bytes", "max_video_bytes"}


def line(method: Method, asked: str, said: str, shown: tuple[Attachment, ...] = ()) -> bytes:
    """Return a record in the method's format; what shows something is asked by nothing else."""
    record_format = RecordFormat(method.format)
    if record_format is RecordFormat.IMAGE:
        shown = (Attachment("image", "", "s3://data/a.png"),)
    return write(Conversation(None, [Turn("user", [asked], shown), Turn("assistant", [said])]), record_format)


def shown(kind: str, count: int) -> tuple[Attachment, ...]:
    suffix = {"image": "png", "video": "mp4", "document": "pdf"}[kind]
    return tuple(Attachment(kind, suffix, f"s3://data/{n}.{suffix}") for n in range(count))


def at_the_limit(method: Method) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield the rule of each limit of a record, a record that is just at it, and one just beyond."""
    latin = method.characters_per_token or document().characters_per_token
    both, alone = method.format != "pre-training", "" if method.format == "pre-training" else "a"
    if (most := method.max_tokens) is not None:
        for character, per_token in (("a", latin), ("字", 1), ("ж", 2)):
            text, rest = character * (per_token * (most - both)), "a" * (latin * both)
            yield "tokens", line(method, rest, text), line(method, rest, text + character)
            yield "tokens", line(method, rest, text), line(method, rest + "a" * both, text + character * (not both))
    if (most := method.max_input_tokens) is not None:
        yield "tokens", line(method, "a" * latin * most, "b"), line(method, "a" * (latin * most + 1), "b")
    if (most := method.max_output_tokens) is not None:
        yield "tokens", line(method, "b", "a" * latin * most), line(method, "b", "a" * (latin * most + 1))
    if (most := method.max_line_bytes) is not None:
        room = most - len(line(method, alone, ""))
        yield (
            "line-bytes",
            line(method, alone, "ж" * (room // 2) + "a" * (room % 2)),
            line(method, alone, "a" * (room + 1)),
        )
    if (fewest := method.min_text) is not None:
        yield "caption-length", line(method, "", "é" * fewest), line(method, "", "é" * (fewest - 1))
    if (most := method.max_text) is not None:
        yield "caption-length", line(method, "", "é" * most), line(method, "", "é" * (most + 1))
    for kind, limit in (("image", method.max_images), ("video", method.max_videos), ("document", method.max_documents)):
        if limit is not None:
            good, beyond = (line(method, "What?", "That.", shown(kind, count)) for count in (limit, limit + 1))
            yield "media-count", good, beyond


@pytest.mark.parametrize("name", METHODS)
def test_a_record_at_each_limit(name: str) -> None:
    """It breaks no rule; with one more it breaks this one."""
    method, takes = METHODS[name]
    if takes == ("TEXT",):
        method = msgspec.structs.replace(method, max_images=None, max_videos=None, max_documents=None)
    rules = Rules(method, takes, "data")
    for rule, good, beyond in at_the_limit(method):
        assert rules.check(good)[1] == []
        assert [problem.rule for problem in rules.check(beyond)[1]] == [rule], name


@pytest.mark.parametrize("name", METHODS)
def test_a_dataset_at_each_limit(name: str) -> None:
    """As many records in all, and in the validation data, as are allowed; one fewer or more is a problem."""
    method, _ = METHODS[name]
    assert method.count_problem(method.min_records, 0) is None
    assert method.count_problem(method.min_records - 1, 0)
    validation = method.max_validation_records
    if (most := method.max_records) is not None:
        assert method.count_problem(most, 0) is None
        assert method.count_problem(most + 1, 0)
        if validation is None:
            assert method.count_problem(most - 1, 1) is None
            assert method.count_problem(most, 1)
    if validation is not None:
        assert method.count_problem(method.min_records, validation) is None
        assert method.count_problem(method.min_records, validation + 1)


@pytest.mark.parametrize("name", METHODS)
def test_an_object_at_each_limit(name: str) -> None:
    """An image, a video and a document of as many bytes as are allowed, and of one more."""
    method, _ = METHODS[name]
    for kind, limit in (
        ("image", method.max_image_bytes),
        ("document", method.max_image_bytes),
        ("video", method.max_video_bytes),
    ):
        if limit is None:
            continue
        assert object_problem(method, Media(kind, "s3://data/a"), Sized(limit)) is None
        assert object_problem(method, Media(kind, "s3://data/a"), Sized(limit + 1)) is not None


class Sized:
    """An S3 whose objects have so many bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def head_object(self, **_: str) -> dict[str, int]:
        return {"ContentLength": self._size}


@pytest.mark.parametrize("limit", ["max_bytes", "max_validation_bytes", "max_records", "max_validation_records"])
def test_the_check_holds_files_against_the_limits(tmp_path: Path, limit: str) -> None:
    """By the bytes that a job would read, and by the lines."""
    method, takes = METHODS["amazon.titan-text-lite-v1 FINE_TUNING"]
    content = b"".join(line(method, f"{n}", "a") + b"\n" for n in range(5))
    files = {part: tmp_path / part for part in ("training", "validation")}
    for file in files.values():
        file.write_bytes(content)
    most = {"max_bytes": len(content), "max_validation_bytes": len(content), "max_records": 10}.get(limit, 5)
    for allowed, problems in ((most, 0), (most - 1, 1)):
        changed: Any = {limit: allowed}
        report = check(files, Rules(msgspec.structs.replace(method, **changed), takes))
        assert len(report.dataset_problems) == problems
        assert report.ok is not bool(problems)


def test_no_limit_is_left_out() -> None:
    """A new one in the table needs its place here."""
    limits = {field for field in Method.__struct_fields__ if field.startswith(("min_", "max_"))}
    assert limits == OF_A_RECORD | OF_A_DATASET | OF_AN_OBJECT


def test_reasoning_counts_as_tokens(tmp_path: Path) -> None:
    """It is trained on and billed: https://docs.aws.amazon.com/bedrock/latest/userguide/nova-2-sft-data-prep.html."""
    method, takes = METHODS["amazon.nova-2-lite-v1:0 FINE_TUNING"]
    assert method.max_tokens is not None
    rules, data = Rules(method, takes), tmp_path / "train.jsonl"
    turns = [Turn("user", ["Where?"]), Turn("assistant", ["Here."], thoughts=("a" * 600,))]
    data.write_bytes(write(Conversation(None, turns), RecordFormat.CONVERSE))
    (script,) = check({"training": data}, rules).scripts
    assert script.characters == len("Where?Here.") + 600
    turns[1] = Turn("assistant", ["Here."], thoughts=("a" * method.max_tokens * 6,))
    record, problems = rules.check(write(Conversation(None, turns), RecordFormat.CONVERSE))
    assert [one.rule for one in problems] == ["tokens"]
    assert record is not None
    assert record.completion == "Here."
