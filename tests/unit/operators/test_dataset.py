"""The dataset preparation operator on local files: no AWS, no database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Context

from airflow_bedrock.datasets import decode
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.operators.dataset import BedrockDatasetPreparationOperator

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
    assert len(times) == 4


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
    """With a slash at its end the source is every .jsonl file below, in the order of their names."""
    (tmp_path / "in/deep").mkdir(parents=True)
    write_source(tmp_path / "in/deep/b.jsonl", 100)
    (tmp_path / "in/a.jsonl").write_text('{"prompt":"question 0","completion":"first"}\nnothing\n')
    (tmp_path / "in/notes.txt").write_text("not data")
    result = prepare(tmp_path, source_uri=f"{tmp_path}/in/")
    assert (result["counts"]["read"], result["counts"]["conflicts"]) == (102, 1)
    report = json.loads(Path(result["report_uri"]).read_bytes())
    assert report["dropped_records"] == [{"record": "a.jsonl:2", "rule": "not a JSON object"}]


def test_no_split_without_a_fraction(tmp_path: Path) -> None:
    """A fraction of 0 makes no file and no URI."""
    write_source(tmp_path / "in.jsonl")
    result = prepare(tmp_path, validation_fraction=0, test_fraction=0)
    # Not by [], since an Airflow before 3.1 gets no None.
    assert (result.get("validation_data_uri"), result.get("test_data_uri")) == (None, None)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train.jsonl", "report.json"}


@pytest.mark.parametrize(
    ("count", "kwargs", "message"),
    [
        (5, {"validation_fraction": 0, "test_fraction": 0}, "needs at least 8"),
        (100, {"prompt_field": "question"}, "100 of 100 records cannot be used"),
        (100, {"base_model_id": "nobody.knows"}, "record_format"),
        (100, {"base_model_id": None}, "neither base_model_id nor record_format"),
        (100, {"record_format": "yaml"}, "none of bedrock-conversation-2024, prompt-completion, claude"),
        (100, {"test_fraction": "a lot"}, "not a fraction"),
        (100, {"max_dropped_fraction": "a lot"}, "not a fraction"),
        (100, {"test_fraction": 1.5}, "something is left for training"),
        (100, {"source_uri": "gs://bucket/in.jsonl"}, "only s3:// and local files"),
        (100, {"source_uri": "/nowhere/in.jsonl"}, "does not exist"),
        (100, {"source_uri": "/nowhere/"}, "no .jsonl file"),
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


def test_output_under_source_is_refused(tmp_path: Path) -> None:
    """Output that the next run would read as its source is refused."""
    with pytest.raises(BedrockFatalError, match="lies under source_uri"):
        prepare(tmp_path, source_uri=f"{tmp_path}/", output_uri=f"{tmp_path}/out")


def test_places_and_names_are_templated() -> None:
    """A backfill writes each interval's data to its own place."""
    assert {"source_uri", "output_uri", "base_model_id", "seed", "aws_conn_id"} <= set(
        BedrockDatasetPreparationOperator.template_fields
    )
