"""Preparation: every record is accounted for, nothing leaks between splits, the same input gives the same bytes."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.datasets import (
    DatasetError,
    OnConflict,
    PreparationReport,
    RecordFormat,
    Settings,
    Source,
    Split,
    prepare,
    rules_for,
)
from airflow_bedrock.datasets import blocks as blocks_module
from airflow_bedrock.datasets.checking import check
from airflow_bedrock.datasets.preparation import Dropped
from airflow_bedrock.datasets.records import normalised, not_json
from airflow_bedrock.datasets.redaction import redact_common_patterns
from airflow_bedrock.datasets.rules.record import Problem
from airflow_bedrock.local.work.records import read_records
from tests.training_records import decode

Record = Mapping[str, object] | None
SETTINGS = Settings(record_format=RecordFormat.PROMPT_COMPLETION, validation_fraction=0.3, test_fraction=0.3)

WORDS = st.sampled_from(["yes", "Yes ", "no", "", "ﬁne", "fine"])
MARKS = {"label": st.booleans() | WORDS, "kto_tag": st.booleans()}
RECORDS = st.lists(
    st.none() | st.fixed_dictionaries({"prompt": WORDS | st.integers(), "completion": WORDS}, optional=MARKS)
)


def run(records: list[Any], settings: Settings = SETTINGS) -> tuple[PreparationReport, dict[Split, bytes]]:
    """Prepare records, of which None stands for a line that is no object."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "a.jsonl")
        source.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records))
        with ExitStack() as stack:
            files = {split: stack.enter_context(Path(folder, split.value).open("w+b")) for split in Split}
            report = prepare([Source("a.jsonl", source)], files, settings)
            return report, {split: _whole(file) for split, file in files.items()}


def _whole(file: Any) -> bytes:
    file.seek(0)
    content: bytes = file.read()
    return content


def pairs(count: int) -> list[Record]:
    return [{"prompt": f"question {n}", "completion": "even" if n % 2 == 0 else "odd"} for n in range(count)]


@settings(max_examples=30)
@given(RECORDS)
def test_every_record_is_accounted_for(records: list[Record]) -> None:
    """Each source record is written, a duplicate, a conflict, or dropped; the counts are those of the files."""
    report, files = run(records)
    lines = {split: content.splitlines() for split, content in files.items()}
    assert {split: report.records(split) for split in Split} == {split: len(found) for split, found in lines.items()}
    accounted = (
        report.near_duplicates
        + sum(map(len, lines.values()))
        + report.duplicates
        + report.conflicts
        + sum(report.dropped.values())
    )
    assert accounted == report.read == len(records)


@settings(max_examples=30)
@given(RECORDS)
def test_no_text_lies_in_two_splits(records: list[Record]) -> None:
    """Prompts that count as the same are written once, so none is both trained and tested on."""
    _, files = run(records)
    prompts = [normalised(decode(line).prompt) for content in files.values() for line in content.splitlines()]
    assert len(prompts) == len(set(prompts))


@settings(max_examples=30)
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
        validation_fraction=0.3,
        test_fraction=0.3,
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
    settings = Settings(record_format=RecordFormat.CONVERSE, rules=rules_for("amazon.nova-micro-v1:0"))
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
        Dropped("a.jsonl:1", "not a JSON object (Expected `object`, got `null`)"),
        Dropped("a.jsonl:2", "completion: missing"),
        Dropped("a.jsonl:3", "completion: empty"),
        Dropped("a.jsonl:4", "prompt: not text"),
        Dropped("a.jsonl:5", "the text holds the reserved word Bot:"),
        Dropped("a.jsonl:6", "prompt: not text"),
    ]
    assert sum(report.dropped.values()) == 6
    assert not any(files.values())


@pytest.mark.parametrize("mark", ["label", "kto_tag"])
def test_answers_that_are_marked_as_bad_are_not_trained_on(mark: str) -> None:
    """As preference data (KTO) has them; a class that is called so is a text."""
    record = {"prompt": "a", "completion": "b"}
    report, _ = run([record, {**record, "prompt": "c", mark: False}, {**record, "prompt": "d", mark: True}])
    assert (sum(report.records(split) for split in Split), report.dropped) == (
        2,
        {f"is marked as a bad answer ({mark}: false), which no fine-tuning format supports": 1},
    )
    classes = replace(SETTINGS, completion_field=mark)
    report, _ = run([{"prompt": "a", mark: "b"}, {"prompt": "c", mark: False}], classes)
    assert (report.read, report.dropped) == (2, {f"{mark}: not text": 1})


def test_a_rule_is_one_however_many_records_break_it() -> None:
    """The report and the error grow with the rules, and not with what each record has of what is too much."""
    rules = rules_for("amazon.titan-text-express-v1", "CONTINUED_PRE_TRAINING")
    settings = Settings(record_format=RecordFormat.PRE_TRAINING, rules=rules)
    report, _ = run([{"input": "word " * (6_000 + n)} for n in range(9)], settings)
    assert report.dropped == {"Maximum input token count … exceeds limit of 4096": 9}
    shape = Problem("shape", "$.messages[2].content", "Expected `array`, got `str`")
    assert shape.of_any == "$.messages[].content: Expected `array`, got `str`"
    image = Problem("media-bucket", "$", "the image s3://b/a 1.png is not in the bucket c.")
    assert image.of_any == "the image … is not in the bucket c."


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"prompt": NaN}', "not a JSON object (JSON is malformed: invalid character)"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "not a JSON object (Integer value out of range)"),
        (b'{"prompt": "\xff"}', "not in UTF-8"),
        ('{"prompt": "a"}'.encode("utf-16"), "not a JSON object (JSON is malformed: invalid character)"),
        (b'\xef\xbb\xbf{"prompt": "a"}', "not a JSON object (JSON is malformed: invalid character)"),
        (b'{"prompt": "a"}{"prompt": "b"}', "not a JSON object (JSON is malformed: trailing characters)"),
        (b"[1]", "not a JSON object (Expected `object`, got `array`)"),
        (b"{", "not a JSON object (Input data was truncated)"),
    ],
)
def test_why_a_line_is_not_read(line: bytes, why: str) -> None:
    """In the words of the decoder, without the place and without any text."""
    assert not_json(line) == why


def test_a_line_that_is_nested_too_deeply() -> None:
    """The depth depends on the Python."""
    assert not_json(b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}").startswith("not a JSON object (maximum")


def test_the_list_of_dropped_records_is_capped() -> None:
    """The counts go on where the list ends."""
    report, _ = run([None] * 150)
    assert (len(report.dropped_records), report.dropped) == (
        100,
        {"not a JSON object (Expected `object`, got `null`)": 150},
    )


def test_system_prompt_without_a_place_is_refused_at_once() -> None:
    """A system prompt that the format cannot hold fails before the first record is read."""
    settings = Settings(record_format=RecordFormat.PROMPT_COMPLETION, system_prompt="Be brief")
    with pytest.raises(DatasetError, match="does not support a system prompt"):
        run([None], settings)


def test_a_system_prompt_for_reinforcement_is_the_first_message() -> None:
    """The chat of reinforcement fine-tuning has a place for it."""
    record = {"messages": [{"role": "user", "content": "2 + 2?"}], "reference_answer": "4"}
    report, files = run([record], Settings(record_format=RecordFormat.REINFORCEMENT, system_prompt="Be brief"))
    assert report.dropped == {}
    (line,) = [line for content in files.values() for line in content.splitlines()]
    system = {"role": "system", "content": "Be brief"}
    assert json.loads(line) == {"reference_answer": "4", "messages": [system, *record["messages"]]}


@pytest.mark.parametrize(
    ("records", "max_dropped_fraction", "problem"),
    [
        (pairs(60), 0.0, None),
        ([*pairs(60), None], 0.0, "1 of 61 records cannot be used"),
        ([*pairs(60), None], 0.05, None),
        ([None] * 60, 1.0, "60 of 60 records cannot be used (60: "),
        (pairs(2), 0.0, "split has no records"),
        ([], 0.0, "the train split has no records"),
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
        record_format=RecordFormat.CLAUDE, rules=rules_for("anthropic.claude-3-haiku-20240307-v1:0:200k")
    )
    report, _ = run(pairs(34), settings)
    assert any("must be between 32 and" in problem for problem in report.problems(settings, 0.0))


def source(tmp_path: Path, content: bytes) -> Source:
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    return Source("x", path)


def prepared(tmp_path: Path, content: bytes, settings: Settings = SETTINGS) -> PreparationReport:
    with tempfile.TemporaryFile() as file:
        return prepare([source(tmp_path, content)], dict.fromkeys(Split, file), settings)


def test_lines(tmp_path: Path) -> None:
    """Blank lines are passed over but counted in the place; a byte order mark costs no record."""
    lines = b'\xef\xbb\xbf{"prompt":"a","completion":1}\n\n[1]\n{"a":\n{"a":"\xff"}\n{"prompt":"b","completion":1}\r\n'
    report = prepared(tmp_path, lines)
    assert [one.record for one in report.dropped_records] == ["x:3", "x:4", "x:5"]
    assert (report.read, sum(report.records(split) for split in Split)) == (5, 2)


def test_conflicts_count_as_lost() -> None:
    """Records that answer a question in another way are lost, and too many of them fail the preparation."""
    records = [{"prompt": f"question {n % 85}", "completion": f"answer {n}"} for n in range(177)]
    report, _ = run(records)
    assert report.conflicts == 92
    (problem,) = report.problems(SETTINGS, 0.05)
    assert "92 of 177 records cannot be used" in problem
    assert "92: another answer to the same question; the first: a.jsonl:86" in problem


def test_a_hundred_dropped_records_hide_no_conflict() -> None:
    """Conflicts beyond those that are listed are counted and resolved too."""
    report, _ = run([*[None] * 100, *[{"prompt": "Why?", "completion": f"answer {n}"} for n in range(3)]])
    assert [one.record for one in report.dropped_records] == [f"a.jsonl:{n}" for n in range(1, 101)]
    assert (report.conflicts, sum(report.records(split) for split in Split)) == (2, 1)


ANSWERS = ["a", "b", "B ", "a", "b", "c"]


@pytest.mark.parametrize(
    ("on_conflict", "kept", "duplicates", "conflicts"),
    [("first", ["a"], 1, 4), ("last", ["c"], 0, 5), ("majority", ["b"], 2, 3), ("drop", [], 0, 6)],
)
def test_what_becomes_of_conflicts(on_conflict: str, kept: list[str], duplicates: int, conflicts: int) -> None:
    """The answer that is kept is the one that was asked for; every other record is counted."""
    settings = replace(SETTINGS, on_conflict=OnConflict(on_conflict))
    report, files = run([{"prompt": "x", "completion": one} for one in ANSWERS], settings)
    assert [decode(line).completion for line in b"".join(files.values()).splitlines()] == kept
    assert (report.duplicates, report.conflicts) == (duplicates, conflicts)


def test_a_conflict_may_fail() -> None:
    """However many may be lost."""
    settings = replace(SETTINGS, on_conflict=OnConflict.FAIL)
    report, _ = run([*pairs(60), {"prompt": "question 1", "completion": "neither"}], settings)
    assert report.problems(settings, 1.0) == ["1 records answer the same question differently from an earlier record"]


def test_a_reserved_word_in_an_answer_costs_no_record() -> None:
    """Only where the model is asked does Nova refuse it."""
    settings = replace(SETTINGS, record_format=RecordFormat.CONVERSE, rules=rules_for("amazon.nova-micro-v1:0"))
    report, _ = run([{"prompt": "Who?", "completion": "User: you"}], settings)
    assert not report.dropped


def chosen(source: list[Any], **most: Any) -> tuple[PreparationReport, set[str]]:
    report, files = run(source, replace(SETTINGS, **most))
    return report, {decode(line).prompt for line in b"".join(files.values()).splitlines()}


def test_a_sample_is_the_same_for_the_same_data() -> None:
    """It depends on neither the order nor the rest, and a smaller one lies in a larger one."""
    report, sample = chosen(pairs(300), max_records=100)
    assert (len(sample), report.not_chosen) == (100, 200)
    assert chosen(pairs(300)[::-1], max_records=100)[1] == sample
    assert chosen(pairs(300), max_records=40)[1] < sample
    assert (
        len(chosen([one for one in pairs(300) if one and one["prompt"] in sample], max_records=100)[1] & sample) == 100
    )
    assert sum(report.records(split) for split in Split) == 100


def test_caps_by_class_and_by_group() -> None:
    """So many of each class and of each group, and as many of each class as of the rarest."""
    records = [{"prompt": f"q {n}", "completion": "rare" if n < 20 else "often", "who": n % 3} for n in range(200)]
    report, sample = chosen(records, max_records_per_class=30)
    assert (len(sample), report.not_chosen) == (50, 150)
    assert len(chosen(records, balance_classes=True)[1]) == 40
    assert len(chosen(records, max_records=1)[1]) == 1
    settings = replace(SETTINGS, max_records_per_group=7, group_field="who")
    assert sum(run(records, settings)[0].records(split) for split in Split) == 21


def test_too_many_records_name_the_remedy() -> None:
    """A model that takes 20,000 says how to take a sample of more."""
    settings = replace(
        SETTINGS, record_format=RecordFormat.CLAUDE, rules=rules_for("anthropic.claude-3-haiku-20240307-v1:0")
    )
    report, _ = run(pairs(60), settings)
    report.splits["train"].records = 30_000
    (problem, *_) = report.problems(settings, 0.0)
    assert "set max_records to take a sample" in problem


def test_split_by_time() -> None:
    """What came later is held out; what came earlier is not."""
    records = [{"prompt": f"q {n}", "completion": "a", "at": f"2026-0{1 + n % 4}-01T00:00:00"} for n in range(40)]
    settings = replace(SETTINGS, validation_fraction=0.2, test_fraction=0, time_field="at", test_after="2026-03-15")
    of_tables = [{"prompt": f"{n}", "completion": "a", "at": f"{1773532800 + n}"} for n in (-1, 0)]
    none: list[Record] = [
        {"prompt": f"no {at}", "completion": "a", "at": at} for at in ("soon", "nan", True, None, 1_773_532_800_000)
    ]
    report, files = run([*records, *of_tables, *none], settings)
    assert {decode(line).prompt for line in files[Split.TEST].splitlines()} == {
        "0",
        *(f"q {n}" for n in range(3, 40, 4)),
    }
    assert report.dropped == {"at: not a time (ISO 8601, or seconds since 1970)": 5}
    with pytest.raises(DatasetError, match="test_after: not a time"):
        replace(settings, test_after="soon")


def test_lengths() -> None:
    """Records that are too short or too long are dropped, and counted."""
    settings = replace(SETTINGS, min_characters=3, max_characters=5)
    report, _ = run([{"prompt": "x" * n, "completion": "y"} for n in range(1, 7)], settings)
    assert report.dropped == {"longer than 5 characters": 2, "shorter than 3 characters": 1}


def test_texts_are_redacted_before_they_are_written() -> None:
    """Prompt and answer, and what they are compared by: two that differ in an address alone are one."""
    records = [{"prompt": f"I am {n}@example.com", "completion": "Call +49 30 1234 5678"} for n in range(3)]
    report, files = run(records, replace(SETTINGS, redact=redact_common_patterns))
    assert b"".join(files.values()) == b'{"prompt":"I am [EMAIL]","completion":"Call [PHONE]"}\n'
    assert report.duplicates == 2


def test_a_grader_is_given_no_personal_data_either() -> None:
    """Whatever the shape of what it is given beside the messages."""
    asked = [{"role": "user", "content": "I am a@example.com"}]
    record = {"messages": asked, "reference_answer": {"to": ["b@example.com", 5, None]}, "by": "c@example.com"}
    of_graders = Settings(record_format=RecordFormat.REINFORCEMENT, redact=redact_common_patterns)
    _, files = run([record], of_graders)
    written = json.loads(b"".join(files.values()))
    assert written["reference_answer"] == {"to": ["[EMAIL]", 5, None]}
    assert (written["by"], written["messages"][0]["content"]) == ("[EMAIL]", "I am [EMAIL]")


def test_a_redaction_that_fails() -> None:
    """Its record is dropped, by a rule without the text, which its error may quote."""

    def picky(text: str) -> Any:
        if "5" in text:
            raise RuntimeError(text)
        return None if "6" in text else text

    report, files = run(pairs(10), replace(SETTINGS, redact=picky))
    assert report.dropped == {"redact failed: RuntimeError": 1, "redact returned no text": 1}
    assert len(b"".join(files.values()).splitlines()) == 8


def test_any_number_of_processes_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks, the files and the report are those of one process."""
    records = [*pairs(400), None, *pairs(30)]
    settings = replace(SETTINGS, max_records=300, redact=redact_common_patterns)
    alone = run(records, settings)
    monkeypatch.setattr(blocks_module, "BLOCK", 4_000)
    assert run(records, settings) == alone
    monkeypatch.setattr(blocks_module, "processes", lambda size: 2)
    assert run(records, settings) == alone


def test_a_function_of_a_dag_file_is_run_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process finds it by its name; one of a module is run in as many as there are CPUs."""
    asked: list[int] = []

    def counted(size: int) -> int:
        asked.append(size)
        return 1

    monkeypatch.setattr(blocks_module, "processes", counted)
    for redact, counts in ((redact_common_patterns, 1), (lambda text: text, 1)):
        run(pairs(3), replace(SETTINGS, redact=redact))
        assert len(asked) == counts


TEMPLATE = replace(SETTINGS, prompt_field="{prompt}")


@settings(max_examples=30)
@given(RECORDS, st.booleans())
def test_a_template_of_one_field_writes_what_the_field_writes(records: list[Record], limited: bool) -> None:
    """Byte for byte, with the same records dropped; but for whole numbers all of them are texts."""
    rules = rules_for("meta.llama3-1-8b-instruct-v1:0") if limited else None
    of_field, of_template = (run(records, replace(one, rules=rules)) for one in (SETTINGS, TEMPLATE))
    assert of_field == of_template


SAID = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["User: x", "a\u2028b"]
)
TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), SAID), min_size=1, max_size=4)
CHATS = TURNS.map(lambda turns: {"messages": [{"role": role, "content": text} for role, text in turns]})
ANY = CHATS | st.fixed_dictionaries({"prompt": SAID, "completion": SAID}) | st.dictionaries(st.text(max_size=3), SAID)


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("amazon.nova-lite-v1:0", "FINE_TUNING"),
        ("amazon.nova-lite-v1:0", "DISTILLATION"),
        ("amazon.nova-2-lite-v1:0", "REINFORCEMENT_FINE_TUNING"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "FINE_TUNING"),
        ("meta.llama3-1-8b-instruct-v1:0", "FINE_TUNING"),
        ("meta.llama3-3-70b-instruct-v1:0", "FINE_TUNING"),
    ],
)
@settings(max_examples=15)
@given(records=st.lists(ANY, max_size=6))
def test_what_prepare_writes_check_accepts_and_local_bedrock_reads(model: str, method: str, records: list[Any]) -> None:
    """Whatever the source, no line that is written has a problem, and every record is accounted for."""
    rules = rules_for(model, method, "bucket")
    made = Settings(record_format=RecordFormat(rules.method.format), rules=rules, validation_fraction=0.3)
    report, files = run(records, made)
    lines = b"".join(files.values())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "train.jsonl")
        file.write_bytes(lines)
        checked = check({"training": file}, rules)
    assert (checked.problems, checked.duplicates.count, checked.conflicts.count) == ({}, 0, 0)
    assert len(list(read_records(lines.splitlines(), "s3://bucket/train.jsonl", rules))) == len(lines.splitlines())
    written = sum(report.records(split) for split in Split)
    assert written + report.duplicates + report.conflicts + sum(report.dropped.values()) == report.read == len(records)


def test_near_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of questions that differ in a word only the first is kept, in whatever split; others stay."""
    pytest.importorskip("rensa")
    words = [f"word{n}" for n in range(20)]
    draw = random.Random(3)  # noqa: S311 - no secret
    records = [{"prompt": " ".join(draw.sample(words, len(words))), "completion": str(n)} for n in range(40)]
    alike = [{**one, "prompt": f"{one['prompt']} today"} for one in records[:10]]
    chinese = [
        {"prompt": "如何在收不到邮件时重置我的账户密码请尽快回复" + end, "completion": "x"} for end in ("", "谢")
    ]
    settings = replace(SETTINGS, near_duplicate_threshold=0.8)
    report, files = run([*records, *alike, *chinese], settings)
    assert report.near_duplicates == 11
    assert len(b"".join(files.values()).splitlines()) == 41
    assert run([*records, *alike, *chinese], replace(SETTINGS, near_duplicate_threshold=1.0))[0].near_duplicates == 0
    monkeypatch.setattr(blocks_module, "BLOCK", 1_000)
    assert run([*records, *alike, *chinese], settings)[0] == report
