"""`airflow-bedrock prepare`: what the operator does, without a DAG."""

from __future__ import annotations

import argparse
import inspect
import json
from pathlib import Path

import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.operators import prepare_command
from airflow_bedrock.operators.dataset import BedrockDatasetPreparationOperator

MICRO = "amazon.nova-micro-v1:0"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A table of sixty questions, of which some are asked twice."""
    file = tmp_path / "people.csv"
    rows = [f'"Where is {n % 50}? Write to a{n % 50}@example.com",{n % 3}\n' for n in range(60)]
    file.write_text("question,stars\n" + "".join(rows))
    return str(file)


def arguments(source: str, output: Path, *more: str) -> list[str]:
    fields = ["--prompt-field", "question", "--completion-field", "stars", "--max-dropped-fraction", "0.5"]
    return ["prepare", source, "--output", str(output), "--model", MICRO, *fields, *more]


def test_the_files_and_the_manifest_are_the_operators(source: str, tmp_path: Path) -> None:
    """Byte for byte."""
    assert main(arguments(source, tmp_path / "command", "--on-conflict", "last", "--seed", "7")) == 0
    operator = BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=source,
        output_uri=str(tmp_path / "operator"),
        base_model_id=MICRO,
        prompt_field="question",
        completion_field="stars",
        max_dropped_fraction=0.5,
        on_conflict="last",
        seed=7,
    )
    operator.prepare()
    written, wanted = (
        {file.name: file.read_bytes().replace(name.encode(), b"") for file in (tmp_path / name).iterdir()}
        for name in ("command", "operator")
    )
    assert written == wanted
    assert len(written) == 5


def test_parts_are_put_together(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By their manifests, as the operator does it; the options that say what is in a record are given again."""
    assert main(arguments(source, tmp_path / "part", "--part")) == 0
    more = ["--source-manifests", str(tmp_path / "part" / "manifest.json"), "--model", MICRO]
    assert main(["prepare", "--output", str(tmp_path / "whole"), *more, "--seed", "7"]) == 2
    assert "was prepared with a different seed" in capsys.readouterr().err
    assert main(["prepare", "--output", str(tmp_path / "whole"), *more]) == 0
    assert (tmp_path / "whole" / "train.jsonl").read_bytes() == (tmp_path / "part" / "train.jsonl").read_bytes()


def test_what_is_said(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People get a table, programs the operator's result with the report."""
    assert main(arguments(source, tmp_path / "out", "--redact", "common", "--test-fraction", "0")) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("60 records read.\n")
    assert "not written" in printed
    assert "another answer to the same question  10" in printed
    train = (tmp_path / "out" / "train.jsonl").read_text()
    assert "[EMAIL]" in train
    assert "example.com" not in train
    assert main(arguments(source, tmp_path / "out", "--format", "json")) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("}\n")
    told = json.loads(printed)
    assert told["counts"]["read"] == told["report"]["read"] == 60
    assert Path(told["manifest_uri"]).is_file()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--max-dropped-fraction", "0"], 1, "was not written"),
        (["--prompt-field", "title"], 1, "60: title: missing"),
        (["--max-records", "few"], 2, "max_records must be a whole number"),
        (["--model", "nobody.knows"], 2, "unknown base model"),
        (["--time-field", "day"], 2, "must be given together"),
        (["--output", "."], 2, "would replace source_uri"),
    ],
)
def test_what_is_wrong(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    said: str,
) -> None:
    """It is said in a line, and nothing is written: 1 for data that must not be trained on, 2 for all else."""
    monkeypatch.chdir(tmp_path)
    if said == "would replace source_uri":
        source = str(Path(source).rename(tmp_path / "train.jsonl"))
    assert main(arguments(source, tmp_path / "out", *more)) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["people.csv"], "Set --model or --record-format."),
        (["--model", MICRO], "one of the arguments PATH|s3://… --source-manifests is required"),
        (
            ["people.csv", "--source-manifests", "manifest.json", "--model", MICRO],
            "--source-manifests: not allowed with",
        ),
    ],
)
def test_what_is_missing_is_named_as_an_option(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator's parameters have other names."""
    try:
        code = main(["prepare", "--output", "out", *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_source_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one that cannot be read."""
    assert main(arguments("nowhere.csv", tmp_path)) == 2
    assert "nowhere.csv: it does not exist" in capsys.readouterr().err


def test_a_function_that_is_not_there(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is an option that is wrong."""
    with pytest.raises(SystemExit) as ended:
        main(arguments(source, tmp_path, "--redact", "nowhere:redact"))
    assert ended.value.code == 2
    assert "cannot import nowhere:redact" in capsys.readouterr().err


def test_every_parameter_has_an_option() -> None:
    """But for a database, which needs an Airflow connection, and what only a task has."""
    parser = argparse.ArgumentParser()
    prepare_command.add_arguments(parser)
    options = {action.dest for action in parser._actions}
    parameters = set(inspect.signature(BedrockDatasetPreparationOperator.__init__).parameters)
    assert parameters - options == {"self", "kwargs", "source_conn_id", "multiple_outputs"}
