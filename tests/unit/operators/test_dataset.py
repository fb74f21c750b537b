"""The dataset preparation operator on local files: no AWS, no database."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Context

from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.operators import BedrockDatasetCheckOperator
from airflow_bedrock.operators.dataset import BedrockDatasetPreparationOperator
from tests.training_records import decode

NOVA = "amazon.nova-micro-v1:0:128k"


def write_source(path: Path, count: int = 100) -> str:
    path.write_text("".join(f'{{"prompt":"question {n}","completion":"{n % 2}"}}\n' for n in range(count)))
    return str(path)


def prepare(tmp_path: Path, **kwargs: Any) -> dict[str, Any]:
    arguments = {"source_uri": str(tmp_path / "in.jsonl"), "output_uri": str(tmp_path / "out"), "base_model_id": NOVA}
    operator = BedrockDatasetPreparationOperator(task_id="prepare", **{**arguments, **kwargs})
    return operator.execute(Context())


def test_prepare(tmp_path: Path) -> None:
    """The splits are written in the base model's format, and the mapping says where and how many."""
    write_source(tmp_path / "in.jsonl")
    result = prepare(tmp_path, system_prompt="Even or odd?")
    assert result["training_data_uri"] == str(tmp_path / "out/train.jsonl")
    lines = {
        split: Path(result[uri]).read_bytes().splitlines()
        for split, uri in (
            ("train", "training_data_uri"),
            ("validation", "validation_data_uri"),
            ("test", "test_data_uri"),
        )
    }
    assert {split: len(found) for split, found in lines.items()} == {split: result["counts"][split] for split in lines}
    assert sum(map(len, lines.values())) == result["counts"]["read"] == 100
    assert decode(lines["train"][0]).system == "Even or odd?"
    report = json.loads(Path(result["report_uri"]).read_bytes())
    assert report["digest"] == result["digest"]
    assert report["splits"]["train"]["records"] == result["counts"]["train"]


def test_same_source_leaves_the_files_untouched(tmp_path: Path) -> None:
    """A second run writes nothing: the files keep their time, and the result is the same."""
    write_source(tmp_path / "in.jsonl")
    first = prepare(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert prepare(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
    assert len(times) == 5


def test_changed_source_is_written_again(tmp_path: Path) -> None:
    """New records change the digest, and no record moves to another split."""
    write_source(tmp_path / "in.jsonl", 100)
    first = prepare(tmp_path)
    tested = Path(first["test_data_uri"]).read_bytes()
    write_source(tmp_path / "in.jsonl", 150)
    second = prepare(tmp_path)
    assert second["digest"] != first["digest"]
    assert Path(second["test_data_uri"]).read_bytes().startswith(tested)


def test_every_jsonl_under_a_folder(tmp_path: Path) -> None:
    """If it ends in a slash, the source is every .jsonl file below, in the order of their names."""
    (tmp_path / "in/deep").mkdir(parents=True)
    write_source(tmp_path / "in/deep/b.jsonl", 100)
    (tmp_path / "in/a.jsonl").write_text('{"prompt":"question 0","completion":"first"}\nnothing\n')
    (tmp_path / "in/notes.md").write_text("not data")
    result = prepare(tmp_path, source_uri=f"{tmp_path}/in/")
    assert (result["counts"]["read"], result["counts"]["conflicts"]) == (102, 1)
    report = json.loads(Path(result["report_uri"]).read_bytes())
    assert report["dropped_records"] == [
        {"record": "a.jsonl:2", "rule": "not a JSON object (JSON is malformed: invalid character)"},
        {"record": "deep/b.jsonl:1", "rule": "another answer to the same question"},
    ]
    manifest = json.loads(Path(result["manifest_uri"]).read_bytes())
    assert manifest["not_read"] == ["notes.md"]
    assert [Path(one["uri"]).name for one in manifest["sources"]] == ["a.jsonl", "b.jsonl"]
    assert manifest["sources"][0]["bytes"] == (tmp_path / "in/a.jsonl").stat().st_size


def test_thousands_of_files(tmp_path: Path) -> None:
    """A record each, in the order of their names."""
    (tmp_path / "in").mkdir()
    for n in range(1_200):
        (tmp_path / "in" / f"{n:04}.jsonl").write_text(f'{{"prompt":"question {n}","completion":"{n % 2}"}}')
    result = prepare(tmp_path, source_uri=f"{tmp_path}/in/", validation_fraction=0, test_fraction=0)
    lines = Path(result["training_data_uri"]).read_bytes().splitlines()
    assert [decode(line).prompt for line in lines] == [f"question {n}" for n in range(1_200)]
    assert len(json.loads(Path(result["manifest_uri"]).read_bytes())["sources"]) == 1_200


def test_a_split_of_an_earlier_preparation_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its records are in the training data now: a model that is tested on them would look better than it is."""
    write_source(tmp_path / "in.jsonl")
    earlier = prepare(tmp_path)
    assert "is from an earlier preparation" not in capfd.readouterr().out
    prepare(tmp_path, validation_fraction=0, test_fraction=0)
    said = caplog.text + "".join(capfd.readouterr())  # where Airflow logs differs by its version
    assert all(f"{earlier[f'{split}_data_uri']} is from an earlier" in said for split in ("validation", "test"))


def test_no_split_without_a_fraction(tmp_path: Path) -> None:
    """A fraction of 0 makes no file and no URI."""
    write_source(tmp_path / "in.jsonl")
    result = prepare(tmp_path, validation_fraction=0, test_fraction=0)
    # Not by [], since an Airflow before 3.1 gets no None.
    assert (result.get("validation_data_uri"), result.get("test_data_uri")) == (None, None)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train.jsonl", "report.json", "manifest.json"}


@pytest.mark.parametrize(
    ("count", "kwargs", "message"),
    [
        (5, {"validation_fraction": 0, "test_fraction": 0}, "must be between 8 and"),
        (100, {"prompt_field": "question"}, "100 of 100 records cannot be used"),
        (100, {"base_model_id": "nobody.knows"}, "record_format"),
        (100, {"base_model_id": None}, "set base_model_id or record_format"),
        (100, {"record_format": "yaml"}, "one of bedrock-conversation-2024, .*; got 'yaml'"),
        (100, {"test_fraction": "a lot"}, "test_fraction must be a number, from 0 to 1; got 'a lot'"),
        (100, {"max_dropped_fraction": "a lot"}, "max_dropped_fraction must be a number"),
        (100, {"test_fraction": 1.5}, "test_fraction must be a number, from 0 to 1; got 1.5"),
        (100, {"test_fraction": 0.5, "validation_fraction": "0.5"}, "something is left for training"),
        (100, {"test_fraction": None}, "test_fraction must be a number, from 0 to 1; got None"),
        (100, {"system_prompt": "None"}, "system_prompt must have a value: a template that finds nothing"),
        (100, {"seed": "None"}, "seed must have a value: a template that finds nothing"),
        (100, {"max_dropped_fraction": -1}, "from 0 to 1; got -1"),
        (100, {"max_dropped_fraction": 5}, "from 0 to 1; got 5"),
        (100, {"max_dropped_fraction": "nan"}, "from 0 to 1; got 'nan'"),
        (100, {"seed": 0.5}, "seed must be text, or a whole number; got 0.5"),
        (100, {"prompt_field": ""}, "prompt_field must be non-empty text"),
        (100, {"group_field": ""}, "group_field must be non-empty text"),
        (100, {"system_prompt": ["a secret"]}, "system_prompt must be non-empty text; got a list"),
        (
            100,
            {"source_uri": "gs://bucket/in.jsonl"},
            "source_uri must be s3://bucket/key, .* got 'gs://bucket/in.jsonl'",
        ),
        (100, {"source_uri": ""}, "source_uri must be s3://bucket/key, .* got ''"),
        (100, {"source_uri": None}, "one of source_uri, source_conn_id and source_manifests must say"),
        (100, {"output_uri": ""}, "output_uri must be s3://bucket/key, .* got ''"),
        (100, {"source_uri": "/nowhere/in.jsonl"}, "does not exist"),
        (100, {"source_uri": "/nowhere/"}, "no file"),
    ],
)
def test_what_cannot_be_trained_on_is_not_written(
    tmp_path: Path, count: int, kwargs: dict[str, Any], message: str
) -> None:
    """Data or settings that no job could be made from fail for good, and leave nothing behind."""
    write_source(tmp_path / "in.jsonl", count)
    with pytest.raises(BedrockFatalError, match=message):
        prepare(tmp_path, **kwargs)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["src", "src/", "src/out", "other/../src"])
def test_output_under_source_is_refused(tmp_path: Path, output: str) -> None:
    """Output that the next run would read as its source is refused, with and without a final slash."""
    (tmp_path / "src").mkdir()
    write_source(tmp_path / "src/in.jsonl")
    with pytest.raises(BedrockFatalError, match="is under source_uri"):
        prepare(tmp_path, source_uri=f"{tmp_path}/src/", output_uri=f"{tmp_path}/{output}")
    assert [path.name for path in (tmp_path / "src").iterdir()] == ["in.jsonl"]


def test_output_beside_the_source(tmp_path: Path) -> None:
    """A folder whose name only begins like the source's is another one, and a source may have the output beside it."""
    (tmp_path / "src").mkdir()
    write_source(tmp_path / "src/in.jsonl")
    prepare(tmp_path, source_uri=f"{tmp_path}/src/", output_uri=f"{tmp_path}/src-out")
    prepare(tmp_path, source_uri=f"{tmp_path}/src/in.jsonl", output_uri=f"{tmp_path}/src")


@pytest.mark.parametrize("name", ["train.jsonl", "validation.jsonl", "test.jsonl", "report.json", "manifest.json"])
@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/."])
def test_the_source_is_not_overwritten(tmp_path: Path, name: str, form: str) -> None:
    """A source that has the name of a file to write keeps its content, however the folder is written."""
    write_source(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(BedrockFatalError, match="would replace source_uri"):
        prepare(tmp_path, source_uri=str(tmp_path / name), output_uri=form.format(tmp_path))
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_without_its_slash(tmp_path: Path) -> None:
    """A local folder is distinguished from a file, and the error says how to write it."""
    (tmp_path / "src").mkdir()
    with pytest.raises(BedrockFatalError, match="is a folder: end it with a slash"):
        prepare(tmp_path, source_uri=f"{tmp_path}/src")


def test_a_number_is_a_seed(tmp_path: Path) -> None:
    """A seed that is a number splits as its digits do, which is what a template makes of it."""
    write_source(tmp_path / "in.jsonl")
    digest = prepare(tmp_path, seed=7)["digest"]
    assert digest == prepare(tmp_path, seed="7")["digest"]
    assert digest != prepare(tmp_path)["digest"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"record_format": "yaml"},
        {"base_model_id": None},
        {"test_fraction": 0.5, "validation_fraction": 0.5},
        {"source_uri": "s3://bucket/raw/train.jsonl", "output_uri": "s3://bucket/raw"},
        {"source_uri": "s3://bucket/src/", "output_uri": "s3://bucket/src"},
        {"source_uri": "s3:/bucket/in.jsonl"},
    ],
)
def test_a_literal_is_checked_when_the_dag_is_parsed(arguments: dict[str, Any]) -> None:
    """The DAG file itself is broken; the same in templates and outputs of tasks waits for the task."""

    def task(task_id: str, **changes: Any) -> Any:
        given = {"source_uri": "s3://bucket/in.jsonl", "output_uri": "s3://bucket/out", "base_model_id": NOVA}
        return BedrockDatasetPreparationOperator(task_id=task_id, **{**given, **changes})

    with pytest.raises(ValueError, match="Task prepare cannot run"):
        task("prepare", **arguments)
    with DAG("dag"):
        earlier = task("earlier", **dict.fromkeys(arguments, "{{ params.later }}"))
        task("later", **dict.fromkeys(arguments, earlier.output))


def test_all_but_the_function_is_templated() -> None:
    """A backfill writes each interval's data to its own place; Airflow would call a function."""
    fields = set(BedrockDatasetPreparationOperator.template_fields)
    assert {"source_uri", "output_uri", "base_model_id", "seed", "part", "aws_conn_id"} <= fields
    assert "redact" not in fields


def test_shapes_and_kinds_through_the_operator(tmp_path: Path) -> None:
    """A folder of chats, tables and packed files is one dataset; what is not read is named."""
    folder = tmp_path / "in"
    folder.mkdir()
    chat = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "chat"}]}
    chat["messages"].append({"role": "assistant", "content": "a"})
    (folder / "a.JSONL").write_text(json.dumps(chat) + "\n")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "packed", "completion": "a"}'))
    (folder / "c.csv").write_text("\ufeffprompt,completion\ntable,a\n")
    (folder / "d.json").write_text('[{"prompt": "array", "completion": "a"}]')
    (folder / "e.xlsx").write_bytes(b"PK")
    for number in range(6):
        (folder / f"f{number}.jsonl").write_text(f'\ufeff{{"prompt": "question {number}", "completion": "a"}}\n')
    result = prepare(tmp_path, source_uri=f"{folder}/", validation_fraction=0, test_fraction=0)
    lines = Path(result["training_data_uri"]).read_bytes().splitlines()
    prompts = {decode(line).prompt for line in lines}
    assert prompts == {"chat", "packed", "table", "array", *(f"question {number}" for number in range(6))}
    manifest = json.loads(Path(result["manifest_uri"]).read_bytes())
    assert manifest["not_read"] == ["e.xlsx"]
    assert manifest["report"]["dropped"] == {}
    assert manifest["files"]["train"]["bytes"] == Path(result["training_data_uri"]).stat().st_size
    assert manifest["parameters"]["base_model_id"] == NOVA


def test_whatever_lies_in_a_folder_and_is_not_read_is_named(tmp_path: Path) -> None:
    """However deep, hidden, linked or empty; pipes are not waited for, and links that lead in circles not followed."""
    folder = tmp_path / ".raw" / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    write_source(folder / "deep" / "er" / "a.JSONL")
    write_source(tmp_path / "linked.jsonl", 3)
    (folder / "deep" / "link.jsonl").symlink_to(tmp_path / "linked.jsonl")
    (folder / "empty.jsonl.gz").write_bytes(b"")
    (folder / "empty.jsonl").mkdir()
    (folder / "deep" / "circle").symlink_to(folder)
    (folder / "nowhere.jsonl").symlink_to(folder / "gone.jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    hidden = {".part.jsonl", ".ipynb_checkpoints/a.jsonl", "deep/_delta_log/0.json", "deep/a.jsonl.gz.zst", "b.md"}
    hidden.add(
        "AWSLogs/1/BedrockModelInvocationLogs/us-east-1/2026/11/20/10/data/1_input.json.gz"
    )  # of a large request
    for name in hidden:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    result = prepare(tmp_path, source_uri=f"file://{folder}/")
    assert result["counts"]["read"] == 103
    manifest = json.loads(Path(result["manifest_uri"]).read_bytes())
    assert manifest["not_read"] == sorted({*hidden, "deep/circle", "nowhere.jsonl", "pipe.jsonl"})
    read = {Path(one["uri"]).name for one in manifest["sources"]}
    assert read == {"a.JSONL", "link.jsonl", "empty.jsonl.gz"}


def test_conflicts_fail_the_task(tmp_path: Path) -> None:
    """A file that loses half of its records to conflicts does not succeed silently."""
    rows = (json.dumps({"prompt": f"question {n % 85}", "completion": f"answer {n}"}) for n in range(177))
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    with pytest.raises(BedrockFatalError, match="92 of 177 records cannot be used"):
        prepare(tmp_path)
    assert prepare(tmp_path, max_dropped_fraction=0.6, on_conflict="majority")["counts"]["conflicts"] == 92


def test_a_sample_of_too_many(tmp_path: Path) -> None:
    """30,000 records for a model that takes 20,000 name the remedy, which works."""
    write_source(tmp_path / "in.jsonl", 30_000)
    with pytest.raises(BedrockFatalError, match=r"must be between 8 and 20000.*set max_records"):
        prepare(tmp_path)
    counts = prepare(tmp_path, max_records="20000", balance_classes=True)["counts"]
    assert counts["train"] + counts["validation"] + counts["test"] == 20_000
    assert counts["not_chosen"] == 10_000


def test_what_is_prepared_passes_the_check(tmp_path: Path) -> None:
    """And the check operator takes it from there."""
    write_source(tmp_path / "in.jsonl")
    result = prepare(tmp_path)
    operator = BedrockDatasetCheckOperator(
        task_id="check",
        training_data_uri=result["training_data_uri"],
        validation_data_uri=result["validation_data_uri"],
        test_data_uri=result["test_data_uri"],
        base_model_id=NOVA,
    )
    found = operator.execute(Context())
    assert (found["ok"], found["overlaps"], found["records"]) == (True, 0, result["counts"]["train"])


def test_rows_of_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query's rows are streamed from the database of a connection."""
    database = tmp_path / "requests.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE requests (question TEXT, service TEXT)")
        connection.executemany("INSERT INTO requests VALUES (?, ?)", [(f"question {n}", "s3") for n in range(50)])

    class Hook:
        def get_conn(self) -> sqlite3.Connection:
            return sqlite3.connect(database)

    asked: list[str] = []

    def get_hook(conn_id: str) -> Hook:
        asked.append(conn_id)
        return Hook()

    monkeypatch.setattr("airflow_bedrock.compat.BaseHook.get_hook", get_hook)
    arguments = {"source_uri": None, "source_conn_id": "support", "completion_field": "service"}
    sql = "SELECT question, service FROM requests"
    result = prepare(tmp_path, **arguments, source_sql=sql, prompt_field="{question}?")
    assert (asked, result["counts"]["read"]) == (["support"], 50)
    manifest = json.loads(Path(result["manifest_uri"]).read_bytes())
    assert (manifest["sources"][0]["conn_id"], manifest["sources"][0]["sql"]) == ("support", sql)
    with pytest.raises(ValueError, match="source_conn_id needs source_sql"):
        prepare(tmp_path, **arguments)


@pytest.mark.parametrize(
    ("model", "method", "record", "written"),
    [
        ("amazon.nova-lite-v1:0", "DISTILLATION", {"prompt": "q {}"}, {"role": "user", "content": [{"text": "q {}"}]}),
        (
            "amazon.nova-2-lite-v1:0",
            "REINFORCEMENT_FINE_TUNING",
            {"messages": [{"role": "user", "content": "q {}"}], "reference_answer": "a"},
            {"role": "user", "content": "q {}"},
        ),
        ("amazon.titan-text-lite-v1", "CONTINUED_PRE_TRAINING", {"text": "q {}"}, {"input": "q {}"}),
        (
            "amazon.nova-canvas-v1:0",
            "FINE_TUNING",
            {"image-ref": "s3://b/{}.png", "caption": "cat"},
            {"image-ref": "s3://b/{}.png", "caption": "cat"},
        ),
    ],
)
def test_every_way_to_customize(
    tmp_path: Path, model: str, method: str, record: dict[str, Any], written: dict[str, Any]
) -> None:
    """The base model and the method say what is written; a field of another name is named."""
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record).replace("{}", str(n)) + "\n" for n in range(110)))
    arguments = {"base_model_id": model, "customization_type": method, "validation_fraction": 0, "test_fraction": 0}
    result = prepare(tmp_path, **arguments)
    first = json.loads(Path(result["training_data_uri"]).read_bytes().splitlines()[0])
    assert (first.get("messages") or [first])[0] == json.loads(json.dumps(written).replace("{}", "0"))
    assert result["counts"]["train"] == 110


def test_images_of_another_field(tmp_path: Path) -> None:
    """The names of the fields are the source's."""
    lines = (json.dumps({"url": f"s3://b/{n}.png", "title": "cat"}) + "\n" for n in range(9))
    (tmp_path / "in.jsonl").write_text("".join(lines))
    fields = {"prompt_field": "url", "completion_field": "title", "validation_fraction": 0, "test_fraction": 0}
    result = prepare(tmp_path, base_model_id="amazon.nova-canvas-v1:0", **fields)
    first = json.loads(Path(result["training_data_uri"]).read_bytes().splitlines()[0])
    assert first == {"image-ref": "s3://b/0.png", "caption": "cat"}
