"""Preparation: every record is accounted for, nothing leaks between splits, the same input gives the same bytes."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.datasets import (
    DatasetError,
    PreparationReport,
    RecordFormat,
    Settings,
    Split,
    Splitter,
    decode,
    limits_for,
    prepare,
    read_jsonl,
)
from airflow_bedrock.datasets.preparation import Dropped
from airflow_bedrock.datasets.records import normalise

Record = Mapping[str, object] | None
SETTINGS = Settings(record_format=RecordFormat.PROMPT_COMPLETION, splitter=Splitter(validation=0.3, test=0.3))

WORDS = st.sampled_from(["yes", "Yes ", "no", "", "ﬁne", "fine"])
RECORDS = st.lists(st.none() | st.fixed_dictionaries({"prompt": WORDS | st.integers(), "completion": WORDS}))


def run(records: list[Record], settings: Settings = SETTINGS) -> tuple[PreparationReport, dict[Split, bytes]]:
    files = {split: io.BytesIO() for split in Split}
    source = ((f"a.jsonl:{number}", record) for number, record in enumerate(records, start=1))
    report = prepare(source, files, settings)
    return report, {split: file.getvalue() for split, file in files.items()}


def pairs(count: int) -> list[Record]:
    return [{"prompt": f"question {n}", "completion": "even" if n % 2 == 0 else "odd"} for n in range(count)]


@given(RECORDS)
def test_every_record_is_accounted_for(records: list[Record]) -> None:
    """Each source record is written, a duplicate, a conflict, or dropped; the counts are those of the files."""
    report, files = run(records)
    lines = {split: content.splitlines() for split, content in files.items()}
    assert {split: report.records(split) for split in Split} == {split: len(found) for split, found in lines.items()}
    accounted = sum(map(len, lines.values())) + report.duplicates + report.conflicts + sum(report.dropped.values())
    assert accounted == report.read == len(records)


@given(RECORDS)
def test_no_text_lies_in_two_splits(records: list[Record]) -> None:
    """Prompts that count as the same are written once, so none is both trained and tested on."""
    _, files = run(records)
    prompts = [normalise(decode(line).prompt) for content in files.values() for line in content.splitlines()]
    assert len(prompts) == len(set(prompts))


@given(st.randoms(use_true_random=False))
def test_order_does_not_move_records(shuffle: random.Random) -> None:
    """In any order the same records fall into the same splits."""
    records = pairs(40)
    _, before = run(records)
    shuffle.shuffle(records)
    _, after = run(records)
    assert {split: sorted(content.splitlines()) for split, content in before.items()} == {
        split: sorted(content.splitlines()) for split, content in after.items()
    }


def test_same_input_same_bytes() -> None:
    """The same input gives the same files, report and digest; other data another digest."""
    assert run(pairs(50)) == run(pairs(50))
    assert run(pairs(50))[0].digest != run(pairs(51))[0].digest


def test_a_group_stays_together() -> None:
    """Records of one group are in one split."""
    settings = Settings(
        record_format=RecordFormat.PROMPT_COMPLETION,
        splitter=Splitter(validation=0.3, test=0.3),
        group_field="customer",
    )
    records: list[Record] = [
        {"prompt": f"{c} asks {n}", "completion": str(c), "customer": c} for c in range(30) for n in range(3)
    ]
    _, files = run(records, settings)
    customers = [{decode(line).completion for line in content.splitlines()} for content in files.values()]
    assert all(customers)
    assert sum(map(len, customers)) == 30


def test_duplicates_and_conflicts() -> None:
    """The first record wins; the same answer again is a duplicate, another answer a conflict."""
    report, files = run(
        [
            {"prompt": "Is it?", "completion": "yes"},
            {"prompt": " is  IT? ", "completion": "Yes"},
            {"prompt": "Is it?", "completion": "no"},
        ]
    )
    assert (report.duplicates, report.conflicts) == (1, 1)
    assert b"".join(files.values()) == b'{"prompt":"Is it?","completion":"yes"}\n'


def test_dropped_records_are_named_by_place_and_rule() -> None:
    """What is left out is named by where it stands and why, never by its text."""
    settings = Settings(record_format=RecordFormat.CONVERSE, limits=limits_for("amazon.nova-micro-v1:0"))
    report, files = run(
        [
            None,
            {"prompt": "secret"},
            {"prompt": "secret", "completion": " "},
            {"prompt": ["secret"], "completion": "c"},
            {"prompt": "secret Bot: hello", "completion": "c"},
            {"prompt": True, "completion": "c"},
        ],
        settings,
    )
    assert report.dropped_records == [
        Dropped("a.jsonl:1", "not a JSON object"),
        Dropped("a.jsonl:2", "completion: missing"),
        Dropped("a.jsonl:3", "completion: empty"),
        Dropped("a.jsonl:4", "prompt: not text"),
        Dropped("a.jsonl:5", "holds Bot:, a reserved word of Amazon Nova"),
        Dropped("a.jsonl:6", "prompt: not text"),
    ]
    assert sum(report.dropped.values()) == 6
    assert not any(files.values())


def test_the_list_of_dropped_records_is_capped() -> None:
    """The counts go on where the list ends."""
    report, _ = run([None] * 150)
    assert (len(report.dropped_records), report.dropped) == (100, {"not a JSON object": 150})


def test_labels_are_counted() -> None:
    """Completions that repeat are labels, and counted by split; whole numbers are labels too."""
    report, _ = run([{"prompt": f"question {n}", "completion": n % 2} for n in range(100)])
    totals = [split.labels for split in report.splits.values()]
    assert all(labels is not None and set(labels) == {"0", "1"} for labels in totals)
    assert sum(sum(labels.values()) for labels in totals if labels) == 100


@pytest.mark.parametrize(("different", "counted"), [(100, True), (101, False)])
def test_a_hundred_different_completions_are_labels(different: int, counted: bool) -> None:
    """One more, and they are texts."""
    rows: list[Record] = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(different)]
    report, _ = run(rows, replace(SETTINGS, splitter=Splitter(validation=0, test=0)))
    assert (report.splits["train"].labels == {f"answer {n}": 1 for n in range(different)}) == counted
    assert (report.splits["train"].labels is None) != counted


@pytest.mark.parametrize(("length", "counted"), [(100, True), (101, False)])
def test_a_label_is_short(length: int, counted: bool) -> None:
    """A longer completion is a text."""
    settings = replace(SETTINGS, splitter=Splitter(validation=0, test=0))
    report, _ = run([{"prompt": "question", "completion": "x" * length}], settings)
    assert (report.splits["train"].labels is not None) == counted


def test_texts_are_not_labels() -> None:
    """Completions that are texts are not kept."""
    report, _ = run([{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(400)])
    assert report.splits["train"].labels is None
    report, _ = run([{"prompt": "question", "completion": "long " * 50}])
    assert all(not split.labels for split in report.splits.values())


def test_system_prompt_without_a_place_is_refused_at_once() -> None:
    """A system prompt that the format cannot hold fails before the first record is read."""
    settings = Settings(record_format=RecordFormat.PROMPT_COMPLETION, system_prompt="Be brief")
    with pytest.raises(DatasetError, match="no place for a system prompt"):
        run([None], settings)


@pytest.mark.parametrize(
    ("records", "max_dropped_fraction", "problem"),
    [
        (pairs(60), 0.0, None),
        ([*pairs(60), None], 0.0, "1 of 61 records cannot be used"),
        ([*pairs(60), None], 0.05, None),
        (pairs(2), 0.0, "no record fell into the"),
        ([], 0.0, "no record fell into the train split"),
    ],
)
def test_problems(records: list[Record], max_dropped_fraction: float, problem: str | None) -> None:
    """Too much that cannot be used, and an empty split, speak against training."""
    report, _ = run(records)
    problems = report.problems(SETTINGS, max_dropped_fraction)
    assert problems == [] if problem is None else any(problem in found for found in problems)


def test_too_few_records_for_the_model() -> None:
    """The model's least number of records is that of training and validation together."""
    settings = Settings(
        record_format=RecordFormat.CLAUDE, limits=limits_for("anthropic.claude-3-haiku-20240307-v1:0:200k")
    )
    report, _ = run(pairs(34), settings)
    assert any("must be between 32 and" in problem for problem in report.problems(settings, 0.0))


def test_read_jsonl() -> None:
    """Blank lines are passed over but counted in the place; what is no object is None."""
    lines = [b'{"a":1}\n', b"\n", b"[1]\n", b'{"a":\n', b'{"a":"\xff"}\n', b'{"a":2}\r\n']
    assert list(read_jsonl("x", lines)) == [
        ("x:1", {"a": 1}),
        ("x:3", None),
        ("x:4", None),
        ("x:5", None),
        ("x:6", {"a": 2}),
    ]
