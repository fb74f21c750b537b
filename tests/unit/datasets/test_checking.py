"""The check of a dataset: every problem, where it stands, without its text, in whatever bytes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from airflow_bedrock.cli import main
from airflow_bedrock.datasets import blocks as blocks_module
from airflow_bedrock.datasets.check_report import markdown
from airflow_bedrock.datasets.checking import CheckReport, check
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.rules import LogRules, Rules, rules_for

NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"


def converse(prompt: object, completion: object = "Here.", **more: object) -> dict[str, Any]:
    turns = (("user", prompt), ("assistant", completion))
    messages = [{"role": role, "content": [{"text": text}]} for role, text in turns]
    return {"schemaVersion": "bedrock-conversation-2024", "messages": messages, **more}


def write(file: Path, *records: object) -> Path:
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in records]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return file


def found(report: CheckReport) -> list[tuple[int, str, str]]:
    return [(one.line, one.where, one.rule) for one in report.findings]


def of(tmp_path: Path, *records: object, model: str = NOVA, **options: Any) -> CheckReport:
    return check({"training": write(tmp_path / "train.jsonl", *records)}, rules_for(model), **options)


def test_every_problem_is_found_with_its_place(tmp_path: Path) -> None:
    """All of a file, all of a record's shape, and all limits that a record breaks, in one run."""
    report = of(
        tmp_path,
        converse("Where?"),
        b"",
        b"{",
        converse(5, messages=[{"role": "robot", "content": [{"text": 5}]}, {"content": []}]),
        converse("User: or <image>?", system=[{"text": "Bot: a"}]),
        [1],
    )
    assert found(report) == [
        (2, "$", "json"),
        (3, "$", "json"),
        (4, "$.messages[0].role", "shape"),
        (4, "$.messages[0].content[0].text", "shape"),
        (4, "$.messages[1]", "shape"),
        (4, "$.messages[1].content", "shape"),
        (5, "$.system[0].text", "reserved-word"),
        (5, "$.messages[0].content[0].text", "reserved-word"),
        (5, "$.messages[0].content[0].text", "reserved-word"),
        (6, "$", "shape"),
    ]
    assert report.problems == {"shape": 5, "reserved-word": 3, "json": 2}
    assert report.files["training"].bad == 5
    assert report.dataset_problems == [
        "The number of records in training and validation data is 6; it must be between 8 and 20000"
    ]
    assert not report.ok


def test_a_good_dataset(tmp_path: Path) -> None:
    """It has no problem, and a summary."""
    report = of(tmp_path, *(converse(f"Where is {n}?" * 10) for n in range(8)), converse("где" * 100, "字" * 50))
    assert report.ok
    assert [(one.name.partition(",")[0], one.characters) for one in report.scripts] == [
        ("Latin and others", 8 * 115),
        ("Chinese", 50),
        ("Greek", 300),
    ]
    low, high = report.tokens
    assert low < high
    assert sum(bucket.records for bucket in report.lengths) == 9


def test_texts_are_shown_only_where_asked_for(tmp_path: Path) -> None:
    """The report never quotes a record by itself: neither a value nor an unknown role."""
    records = [
        converse("secret User: secret"),
        converse("a", messages=[{"role": "secret", "content": "secret"}]),
        b'{"messages": "secret" secret',
        converse(["secret"]),
    ]
    for shown in (False, True):
        report = of(tmp_path, *records, show_text=shown)
        assert len({one.line for one in report.findings}) == 4
        assert ("secret" in msgspec.json.encode(report).decode()) is shown
        assert ("secret" in markdown(report)) is shown


def test_a_text_that_is_not_utf_8_is_shown_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    """With a sign in place of each byte that cannot."""
    (finding,) = of(tmp_path, b'{"messages": "Stra\xdfe"}', show_text=True).findings
    assert finding.text == '{"messages": "Stra\N{REPLACEMENT CHARACTER}e"}'


def test_a_byte_order_mark_is_a_problem_and_not_the_record(tmp_path: Path) -> None:
    """It is named, and the record behind it is read."""
    report = of(tmp_path, b"\xef\xbb\xbf" + json.dumps(converse("User: x")).encode())
    assert found(report) == [(1, "$", "bom"), (1, "$.messages[0].content[0].text", "reserved-word")]


def test_repeated_questions(tmp_path: Path) -> None:
    """Duplicates, conflicts, and what validation and test data share with the training data, by their places."""
    train = write(tmp_path / "train.jsonl", converse("A"), converse("b"), converse(" a "), converse("A", "There."))
    validation = write(tmp_path / "validation.jsonl", converse("c"), converse("B", "There."), converse("c"))
    test = write(tmp_path / "test.jsonl", converse("C"), converse("a"))
    report = check({"training": train, "validation": validation, "test": test}, rules_for(NOVA))
    assert [report.duplicates.count, report.conflicts.count, report.overlaps.count] == [2, 1, 2]
    assert "| records | examples |" in markdown(report)
    assert report.conflicts.examples[0].record == f"{train}:4"
    assert report.conflicts.examples[0].earlier == f"{train}:1"
    assert {(one.record, one.earlier) for one in report.overlaps.examples} == {
        (f"{validation}:2", f"{train}:2"),
        (f"{test}:2", f"{train}:1"),
    }
    assert "overlap" in markdown(report)


def test_media_of_a_dataset(tmp_path: Path) -> None:
    """Images in one record and a video in another are a problem of the dataset."""

    def record(kind: str, format_: str) -> dict[str, Any]:
        block = {kind: {"format": format_, "source": {"s3Location": {"uri": "s3://b/i"}}}}
        made = converse("What?")
        made["messages"][0]["content"].append(block)
        return made

    report = of(tmp_path, record("image", "png"), record("video", "mp4"))
    assert not report.problems
    assert "a dataset may hold images or videos, but not both" in report.dataset_problems


class Objects:
    """An S3 that has two images and a limit that it throttles at."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, int]:
        self.asked.append(Key)
        if (code := {"gone.png": "404", "busy.png": "SlowDown"}.get(Key)) is not None:
            raise ClientError({"Error": {"Code": code}}, "HeadObject")
        return {"ContentLength": 20_000_000 if Key == "large.png" else 5}


def image(*keys: str, text: str = "What?") -> dict[str, Any]:
    made = converse(text)
    made["messages"][0]["content"] += [
        {"image": {"format": "png", "source": {"s3Location": {"uri": f"s3://b/{key}"}}}} for key in keys
    ]
    return made


def test_sizes_of_media(tmp_path: Path) -> None:
    """On request, each object is checked once, and a record that has a problem already is not counted twice."""
    s3 = Objects()
    records = [image("a.png"), image("large.png", "gone.png"), image("a.png", "large.png", text="User: x"), converse(1)]
    report = of(tmp_path, *records, s3=s3)
    assert sorted(s3.asked) == ["a.png", "gone.png", "large.png"]
    assert report.problems == {"media-size": 2, "media-access": 1, "reserved-word": 1, "shape": 1}
    assert report.files["training"].bad == 3
    assert (2, "$.messages[0].content[1].image", "media-size") in found(report)
    assert of(tmp_path, *records).problems == {"reserved-word": 1, "shape": 1}
    with pytest.raises(ClientError):
        of(tmp_path, image("busy.png"), s3=s3)


def test_near_overlaps(tmp_path: Path) -> None:
    """A question of the test data that is nearly one of the training data; what is the same is an overlap."""
    pytest.importorskip("rensa")
    words = [f"word{n}" for n in range(40)]
    train = write(
        tmp_path / "train.jsonl", converse(" ".join(words)), converse("Where?"), converse(" ".join(words[:39]))
    )
    near, same = [*words[:39], "other"], words
    test = write(tmp_path / "test.jsonl", *(converse(" ".join(one)) for one in (near, same, words[::-1], near)))
    files = {"training": train, "test": test}
    report = check(files, rules_for(NOVA), near_overlaps=0.8)
    assert report.near_overlaps is not None
    assert (report.overlaps.count, report.near_overlaps.count) == (1, 2)
    assert [one.record for one in report.near_overlaps.examples] == [f"{test}:1", f"{test}:4"]
    assert "nearly overlap" in markdown(report)
    assert check(files, rules_for(NOVA)).near_overlaps is None


def log(text: str, **metadata: str) -> bytes:
    body = {"messages": [{"role": "user", "content": [{"text": text}]}]}
    said = {"output": {"message": {"content": [{"text": "Here."}]}}}
    return json.dumps(
        {"input": {"inputBodyJson": body}, "output": {"outputBodyJson": said}, "requestMetadata": metadata}
    ).encode()


def test_a_folder_of_invocation_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Packed or not, with or without an end of the last line; a problem is at its place in its file."""
    folder = tmp_path / "logs"
    (folder / "2026").mkdir(parents=True)
    for n in range(30):
        lines = [log(f"Where is {n}?", app="a"), log(f"Who is {n}?", app="b"), b'{"input": {"inputBodyJson": {}}}']
        (folder / "2026" / f"{n:02}.json.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    (folder / "last.json").write_bytes(log("Where?") + b"\n[]\n")
    arguments = ["check", f"{folder}/", "--model", NOVA, "--method", "DISTILLATION", "--format", "json"]
    assert main(arguments) == 1
    report = json.loads(capsys.readouterr().out)
    summary = report["files"]["training"]
    assert (summary["records"], summary["bad"], summary["passed_over"]) == (62, 1, 30)
    assert [(one["file"], one["line"]) for one in report["findings"]] == [(f"{folder}/last.json", 2)]
    assert "is 62; it must be between 100" in report["dataset_problems"][0]
    filters = {"requestMetadataFilters": {"equals": {"app": "b"}}}
    assert main([*arguments, "--logs-config", json.dumps(filters)]) == 1
    assert json.loads(capsys.readouterr().out)["files"]["training"]["passed_over"] == 61
    whole = (folder / "2026" / "07.json.gz").read_bytes()
    (folder / "2026" / "07.json.gz").write_bytes(whole[:-9])
    assert main(arguments) == 2
    assert "07.json.gz is truncated. Copy it again" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_data_in_another_format_is_sent_to_prepare(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no record has the model's format; not for a mistake in some of them."""
    file = tmp_path / "train.csv"
    pair = b'{"prompt": "a", "completion": "b"}\n'
    good = json.dumps(converse("Where?")).encode() + b"\n"
    for content, is_other in ((b"prompt,completion\na,b\n", True), (pair, True), (good + pair, False)):
        file.write_bytes(content)
        assert main(["check", str(file), "--model", NOVA, "--format", form]) == 1
        said = "No training record has the format bedrock-conversation-2024. airflow-bedrock prepare, or Bedrock"
        assert (said in capsys.readouterr().out) == is_other


def test_filters_for_logs_are_refused_for_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has none; the filters would be ignored, and all records counted."""
    file = tmp_path / "logs.jsonl"
    file.write_bytes(log("Where?"))
    config = '{"usePromptResponse": true}'
    assert main(["check", str(file), "--model", NOVA, "--method", "DISTILLATION", "--logs-config", config]) == 2
    assert "is one file, and has no invocation logs to filter. Name a folder of logs" in capsys.readouterr().err


def test_a_folder_as_bedrock_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log of a stream has a list of events; large bodies have files of their own, which are no logs."""
    folder = tmp_path / "AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/2026/11/20/10"
    (folder / "data").mkdir(parents=True)
    stream = [
        {"type": "message_start"},
        {"type": "content_block_delta", "delta": {"text": "He"}},
        {"delta": {"text": "re."}},
    ]
    large = {"inputBodyS3Path": "s3://b/data/1_input.json.gz", "inputBodyJson": None}
    logs = [
        log("Where?"),
        json.dumps({"input": {"inputBodyJson": {"messages": []}}, "output": {"outputBodyJson": None}}).encode(),
        json.dumps({"input": large, "output": {"outputBodyJson": stream}, "requestMetadata": None}).encode(),
        json.dumps(json.loads(log("Who?")) | {"output": {"outputBodyJson": stream}}).encode(),
    ]
    (folder / "20261120T100000000Z_0a1b.json.gz").write_bytes(gzip.compress(b"\n".join(logs)))
    (folder / "data" / "1_input.json.gz").write_bytes(gzip.compress(b'{"messages": []}'))
    (tmp_path / "AWSLogs/123456789012/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check").touch()
    arguments = ["check", f"{tmp_path}/", "--model", NOVA, "--method", "DISTILLATION", "--format", "json"]
    assert main([*arguments, "--logs-config", '{"usePromptResponse": true}']) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["problems"], report["files"]["training"]["records"]) == ({}, 2)
    nova_2 = ["--model", "amazon.nova-2-lite-v1:0", "--format", "json"]
    assert main(["check", f"{tmp_path}/", *nova_2, "--method", "REINFORCEMENT_FINE_TUNING"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == {}
    assert main(["check", f"{tmp_path}/", *nova_2]) == 2
    assert "only for DISTILLATION and REINFORCEMENT_FINE_TUNING" in capsys.readouterr().err
    rules = LogRules(rules_for(NOVA, "DISTILLATION"), {"usePromptResponse": True})
    record, _ = rules.check(logs[-1])
    assert record is not None
    assert (record.prompt, record.completion) == ("Who?", "Here.")


def test_any_number_of_processes_reports_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are cut at line ends, and what they come to is added up in order."""
    records = [converse(f"Where is {n % 300}?", str(n % 7)) for n in range(600)]
    records[77] = records[501] = converse("User: x")
    alone = of(tmp_path, *records)
    monkeypatch.setattr(blocks_module, "BLOCK", 10_000)
    assert of(tmp_path, *records) == alone
    monkeypatch.setattr(blocks_module, "processes", lambda size: 2)
    assert of(tmp_path, *records) == alone
    assert [line for line, _, _ in found(alone)] == [78, 502]


def test_the_list_ends_and_the_counts_go_on(tmp_path: Path) -> None:
    """As many problems are listed as were asked for."""
    report = of(tmp_path, *[b"{"] * 50, listed=3)
    assert (len(report.findings), report.problems) == (3, {"json": 50})
    assert "and 47 more" in markdown(report)


PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"messages"',
        b":",
        b",",
        b'"role"',
        b'"user"',
        b"\n",
        b"\xff",
        b'"\\ud800"',
        b"null",
        b"1e999",
    ]
)
BYTES = st.binary(max_size=200) | st.lists(PIECES, max_size=60).map(b"".join)


@pytest.mark.parametrize("model", [NOVA, CLAUDE, "amazon.nova-canvas-v1:0"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=BYTES)
@example(content=b"\xef\xbb\xbf")
@example(content=b"\xef\xbb\xbf{")
def test_any_bytes_get_a_report(tmp_path: Path, model: str, content: bytes) -> None:
    """Any file that is not packed has a report: as many records as lines, each of them good or with a problem."""
    assume(not content.startswith((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")))
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    report = check({"training": file}, rules_for(model))
    summary = report.files["training"]
    assert summary.records == len(content.split(b"\n")) - (content.endswith(b"\n") or not content)
    assert summary.bad <= summary.records
    assert markdown(report)


def test_a_deeply_nested_line_is_reported(tmp_path: Path) -> None:
    """It breaks no stack."""
    assert found(of(tmp_path, b'{"messages":' + b"[" * 100_000)) == [(1, "$", "json")]
    assert found(of(tmp_path, b'{"messages":' + b"[" * 5_000 + b"]" * 5_000 + b"}"))


TEXT = st.text(max_size=12) | st.sampled_from(["User:", "a\nHuman: b", "[EOS]", "x" * 40_000, "", "<un\u212a>"])
BLOCK = st.fixed_dictionaries({"text": TEXT}, optional={"note": TEXT})
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.lists(BLOCK, max_size=2)})
CHAT = st.fixed_dictionaries(
    {"schemaVersion": st.just("bedrock-conversation-2024"), "messages": st.lists(TURN, max_size=4)},
    optional={"system": st.lists(BLOCK, max_size=2) | st.none()},
)
FLAT = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXT})
ANY = CHAT | st.fixed_dictionaries({"messages": st.lists(FLAT, max_size=3)}, optional={"system": TEXT})


@pytest.mark.parametrize("model", [NOVA, CLAUDE, "meta.llama3-2-1b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0"])
@settings(max_examples=60)
@given(record=ANY | st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT}))
def test_plain_returns_only_good_records(model: str, record: dict[str, Any]) -> None:
    """In what it returns all rules find no problem, and the same prompt and answer."""
    rules: Rules = rules_for(model)
    line = json.dumps(record).encode()
    plain = rules.plain(line)
    if plain is not None:
        whole, problems = rules.check(line)
        assert whole is not None
        assert not problems
        assert (whole.prompt, whole.completion) == plain


def test_plain_returns_conversations_of_texts() -> None:
    """Of one question or several."""
    rules = rules_for(NOVA)
    assert rules.plain(json.dumps(converse("Where?", system=[{"text": "Be brief."}])).encode()) == (
        "Be brief.\nWhere?",
        "Here.",
    )
    longer = converse("a")
    longer["messages"] *= 2
    assert rules.plain(json.dumps(longer).encode()) == ("a\nHere.\na", "Here.")


def test_models_and_methods_that_are_not_known() -> None:
    """The error names what is known."""
    with pytest.raises(DatasetError, match=r"unknown base model nobody\.knows"):
        rules_for("nobody.knows")
    with pytest.raises(DatasetError, match="FINE_TUNING, DISTILLATION"):
        rules_for(NOVA, "CONTINUED_PRE_TRAINING")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code says whether the data is good; people and programs get a report."""
    good = write(tmp_path / "good.jsonl", *(converse(f"Where is {n}?") for n in range(9)))
    bad = write(tmp_path / "bad.jsonl", converse("a [User: b"), *(converse(f"Where is {n}?") for n in range(9)))
    model = ["--model", NOVA]
    parts = ["--validation", str(bad), "--test", str(good)]
    assert main(["check", str(good), *model, *parts, "--format", "json"]) == 1
    assert list(json.loads(capsys.readouterr().out)["files"]) == ["training", "validation", "test"]
    assert main(["check", str(good), *model]) == 0
    printed = capsys.readouterr().out
    assert "No problem found." in printed
    assert "█" in printed
    assert main(["check", str(bad), *model]) == 1
    printed = capsys.readouterr().out
    assert f"{bad}:1  $.messages[0].content[0].text  reserved-word  the text holds the reserved word User:." in printed
    assert "a [User: b" not in printed
    assert main(["check", str(bad), *model, "--show-text", "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == {"reserved-word": 1}
    assert "a [User: b" in report["findings"][0]["text"]
    assert main(["check", str(bad), *model, "--format", "markdown"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("## 1 problem in 1 record.")
    assert all(line.endswith("|") for line in printed.splitlines() if line.startswith("|"))


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    """The report is printed all the same."""
    file = write(tmp_path / "train.jsonl", *(converse(f"Où est {n}?") for n in range(9)))
    arguments = ["check", str(file), "--model", NOVA]
    code = f"import sys; from airflow_bedrock.cli import main; sys.exit(main({arguments!r}))"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"No problem found." in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl", "--model", NOVA], "No such file or directory: 'nowhere.jsonl'"),
        (["s3://bucket", "--model", NOVA], "is a bucket. Name one object in it"),
        ([".", "--model", NOVA], "Is a directory: '.'"),
        (["x", "--model", "nobody.knows"], "unknown base model nobody.knows. Check its id\n"),
        (["x", "--model", "Nova-Micro"], "Check its id; similar: amazon.nova-micro-v1:0\n"),
        (["/", "--model", NOVA], "can be used only for DISTILLATION"),
        (["nowhere/", "--model", NOVA, "--method", "DISTILLATION"], "no file under nowhere/"),
    ],
)
def test_what_cannot_be_checked(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said in a line, and has an exit code of its own."""
    assert main(["check", *arguments]) == 2
    assert message in capsys.readouterr().err
