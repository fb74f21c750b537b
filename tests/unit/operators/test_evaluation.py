"""The evaluation operator, up to the first question: what is wrong is found before anything is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.datasets import Example, RecordFormat, encode
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.operators.evaluation import BedrockModelEvaluationOperator

RECORD = encode(Example("secret", "yes"), RecordFormat.CLAUDE) + b"\n"


@pytest.mark.parametrize(
    ("content", "kwargs", "message"),
    [
        (b"", {}, "holds no record"),
        (b"\n\n", {}, "holds no record"),
        (RECORD + b'\n{"prompt":"secret"}\n', {}, "Record 3 of .*: not a training record.*No question was asked"),
        (RECORD, {"metrics": ["accuracy"]}, "no metric 'accuracy'"),
        (RECORD, {"metrics": []}, "metrics must name at least one"),
        (RECORD, {"alpha": 5}, "significance level"),
        (RECORD, {"concurrency": 0}, "at least 1"),
        (RECORD, {"max_records": "0"}, "at least 1"),
        (RECORD, {"max_records": "all"}, "max_records: invalid literal"),
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
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()
