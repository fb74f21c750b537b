"""The evaluation operator, up to the first question: what is wrong is found before anything is paid for."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_bedrock.datasets import RecordFormat
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.evaluation import BedrockModelEvaluationOperator
from tests.training_records import Example, encode

RECORD = encode(Example("secret", "yes"), RecordFormat.CLAUDE) + b"\n"

ARN = "arn:aws:bedrock:us-east-1:123456789012"
LABELS = b"".join(encode(Example("secret", str(n)), RecordFormat.CLAUDE) + b"\n" for n in range(201))


@pytest.mark.parametrize(
    ("content", "kwargs", "message"),
    [
        (b"", {}, "has no records"),
        (b"\n\n", {}, "has no records"),
        (RECORD + b'\n{"question":"secret"}\n', {}, "Record 3: not a training record.*No question was asked"),
        (RECORD, {"metrics": ["blue"]}, "unknown metric 'blue'"),
        (RECORD, {"metrics": "blue"}, "unknown metric 'blue'"),
        (RECORD, {"metrics": ["chrf", "chrf"]}, "two metrics named chrf. Give one of them another label"),
        (RECORD, {"metrics": [lambda a, r: 0.0, lambda a, r: 1.0]}, "two metrics named <lambda>"),
        (RECORD, {"metrics": [{"name": "chrf", "label": 1}]}, "label must be text"),
        (
            RECORD,
            {"metrics": [{"name": float, "fields": ["a"]}]},
            "metric float is a function, which takes no parameters",
        ),
        (RECORD, {"metrics": []}, "metrics must name at least one"),
        (RECORD, {"alpha": 5}, "alpha must be a number, between 0 and 1; got 5"),
        (RECORD, {"alpha": None}, "alpha must be a number, between 0 and 1; got None"),
        (RECORD, {"concurrency": 0}, "concurrency must be a whole number, 1 or more; got 0"),
        (RECORD, {"concurrency": "few"}, "concurrency must be a whole number, 1 or more; got 'few'"),
        (RECORD, {"max_tokens": None}, "max_tokens must be a whole number, 1 or more; got None"),
        (RECORD, {"max_tokens": 0.5}, "max_tokens must be a whole number"),
        (RECORD, {"max_records": "0"}, "max_records must be a whole number, 1 or more; got '0'"),
        (RECORD, {"max_records": "all"}, "max_records must be a whole number, 1 or more; got 'all'"),
        (RECORD, {"temperature": "2"}, "temperature must be a number, from 0 to 1; got '2'"),
        (RECORD, {"metrics": "{{ params.metric }}"}, "got '{{ params.metric }}', which is not rendered here"),
        (RECORD, {"temperature": 7}, "temperature must be a number, from 0 to 1; got 7"),
        (RECORD, {"max_cost": 10**400}, "max_cost must be a number, 0 or more"),
        (RECORD, {"candidate_model_id": None}, "candidate_model_id must be the id of a model, or an ARN .*; got None"),
        (RECORD, {"candidate_model_id": "None"}, "candidate_model_id must have a value"),
        (RECORD, {"baseline_model_id": ""}, "baseline_model_id .*; got ''"),
        (RECORD, {"baseline_model_id": "no id!"}, "baseline_model_id .*; got 'no id!'"),
        (
            RECORD,
            {"candidate_model_id": f"{ARN}:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"},
            "of a deployment",
        ),
        (RECORD, {"output_uri": ""}, "output_uri must be s3://bucket/key, .* got ''"),
        (RECORD, {"output_uri": "s3:/typo/ev"}, "output_uri must be s3://bucket/key, .* got 's3:/typo/ev'"),
        (RECORD, {"output_uri": "https://x/ev"}, "output_uri must be s3://bucket/key, .* got 'https://x/ev'"),
        (RECORD, {"max_slice_loss": 0.1}, "max_slice_loss needs slice_by"),
        (RECORD, {"other_models": {"baseline": "x"}}, "other_models must not name candidate, baseline"),
        (RECORD, {"other_models": "x"}, "other_models must map names to models"),
        (LABELS, {"metrics": "macro_f1"}, "more than 200"),
        (b'{"prompt":"secret"}', {}, "Record 1: metric exact_match needs a reference"),
        (RECORD, {"test_data_uri": None}, "test_data_uri must be s3://bucket/key, .* got None"),
        (RECORD, {"test_data_uri": "/nowhere/test.jsonl"}, "does not exist"),
    ],
)
def test_found_before_the_first_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, kwargs: dict[str, Any], message: str
) -> None:
    """A bad file or setting fails for good, without a question asked and without a record's text."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # a question would fail in another way
    (tmp_path / "test.jsonl").write_bytes(content)
    arguments: dict[str, Any] = {
        "task_id": "evaluate",
        "test_data_uri": str(tmp_path / "test.jsonl"),
        "candidate_model_id": "candidate",
        "baseline_model_id": "baseline",
        "output_uri": str(tmp_path / "out"),
        "aws_conn_id": None,
    }
    with pytest.raises(BedrockFatalError, match=message) as caught:
        BedrockModelEvaluationOperator(**{**arguments, **kwargs}).execute({})
    assert "No question was asked" in str(caught.value) or "nothing was spent" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def evaluation(tmp_path: Path, **kwargs: Any) -> BedrockModelEvaluationOperator:
    (tmp_path / "test.jsonl").write_bytes(RECORD)
    arguments: dict[str, Any] = {
        "task_id": "evaluate",
        "test_data_uri": str(tmp_path / "test.jsonl"),
        "candidate_model_id": "candidate",
        "baseline_model_id": "baseline",
        "output_uri": str(tmp_path / "out"),
        "aws_conn_id": None,
    }
    return BedrockModelEvaluationOperator(**{**arguments, **kwargs})


def test_an_output_that_cannot_be_written_is_found_before_the_first_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that lies under a file can never be made; nobody pays for answers that would be lost."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # a question would fail in another way
    operator = evaluation(tmp_path, output_uri=f"{tmp_path}/test.jsonl/out")
    with pytest.raises(BedrockFatalError, match=r"Could not write to .* is a file\. No question was asked\."):
        operator.execute({})


def test_a_full_disk_is_an_error_that_says_what_was_asked(tmp_path: Path) -> None:
    """A retry, perhaps on another worker, may succeed."""
    expected = pytest.raises(BedrockError, match=r"database or disk is full\. No question was asked\.")
    with expected as error, evaluation(tmp_path)._explained("No question was asked."):
        raise sqlite3.OperationalError("database or disk is full")
    assert not isinstance(error.value, BedrockFatalError)


def test_the_held_out_file_is_not_overwritten(tmp_path: Path) -> None:
    """Held-out records that have the name of a file of answers, in the folder of the answers, are kept."""
    with pytest.raises(ValueError, match="would replace test_data_uri"):
        evaluation(tmp_path, test_data_uri=f"{tmp_path}/candidate.jsonl", output_uri=str(tmp_path))
    with pytest.raises(ValueError, match="would replace test_data_uri"):
        evaluation(
            tmp_path,
            test_data_uri=f"{tmp_path}/former.jsonl",
            output_uri=str(tmp_path),
            other_models={"former": "amazon.nova-micro-v1:0"},
        )


@pytest.mark.parametrize(
    "arguments", [{"alpha": 5}, {"output_uri": ""}, {"baseline_model_id": "no id!"}, {"max_tokens": "many"}]
)
def test_a_literal_is_checked_when_the_dag_is_parsed(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """The DAG file itself is broken; a template and the output of a task wait for the task, and fail it for good."""
    with pytest.raises(ValueError, match="Task evaluate cannot run"):
        evaluation(tmp_path, **arguments)
    with DAG("dag"):
        operator = evaluation(tmp_path, **dict.fromkeys(arguments, "{{ params.later }}"))
        evaluation(tmp_path, task_id="later", **dict.fromkeys(arguments, operator.output))
    for name, value in arguments.items():
        setattr(operator, name, value)  # as Airflow does when it has rendered the template
    with pytest.raises(BedrockFatalError, match="nothing was spent"):
        operator.execute({})
