"""The operator that checks training data, on local files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from airflow_bedrock.compat import outputs
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.operators import BedrockDatasetCheckOperator

CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0:200k"
GOOD = '{{"messages":[{{"role":"user","content":"secret {}"}},{{"role":"assistant","content":"b"}}]}}\n'


def write(file: Path, *numbers: int, more: str = "") -> str:
    file.write_text("".join(GOOD.format(number) for number in numbers) + more)
    return str(file)


def run(training: str, **arguments: Any) -> tuple[dict[str, Any], Mock]:
    operator = BedrockDatasetCheckOperator(
        task_id="check", training_data_uri=training, **{"base_model_id": CLAUDE, **arguments}
    )
    task_instance = Mock()
    context: Any = {"ti": task_instance}
    return operator.execute(context), task_instance


def test_good_data(tmp_path: Path) -> None:
    """The summary is returned, and the report pushed."""
    validation = write(tmp_path / "validation.jsonl", 50, 7)
    result, task_instance = run(write(tmp_path / "train.jsonl", *range(40)), validation_data_uri=validation)
    assert result == outputs(
        {
            "ok": True,
            "records": 40,
            "problems": {},
            "tokens_low": 65,
            "tokens_high": 130,
            "duplicates": 0,
            "conflicts": 0,
            "overlaps": 1,
            "near_overlaps": None,
        }
    )
    report = task_instance.xcom_push.call_args.kwargs
    assert report["key"] == "report"
    assert report["value"].startswith("## No problem found.")


def test_bad_data_fails_before_anything_is_paid_for(tmp_path: Path) -> None:
    """The error says what and where, never a text."""
    training = write(tmp_path / "train.jsonl", *range(31), more="\n")
    with pytest.raises(BedrockFatalError, match=r"json: 1; .*train.jsonl:32 \$: it is blank") as caught:
        run(training)
    assert "Nothing was paid for" in str(caught.value)
    assert "secret" not in str(caught.value)
    result, task_instance = run(training, fail_on_problems=False)
    assert (result["ok"], result["problems"]) == (False, {"json": 1})
    assert "it is blank" in task_instance.xcom_push.call_args.kwargs["value"]


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    """A model or a file that is not known fails for good; so does a folder, which no file may be."""
    training = write(tmp_path / "train.jsonl", 1)
    with pytest.raises(BedrockFatalError, match=r"unknown base model nobody\.knows"):
        run(training, base_model_id="nobody.knows")
    with pytest.raises(BedrockFatalError, match="does not exist"):
        run(f"{training}.gone")
    with pytest.raises(ValueError, match="must be one file"):
        run(training, test_data_uri="s3://bucket/folder/")
    with pytest.raises(BedrockFatalError, match="can be used only for DISTILLATION"):
        run(f"{tmp_path}/")


def test_a_folder_of_invocation_logs(tmp_path: Path) -> None:
    """It is read as a distillation reads it: what the filters keep out counts for nothing."""
    for n in range(3):
        body = {"messages": [{"role": "user", "content": [{"text": f"Where is {n}?"}]}]}
        log = {"input": {"inputBodyJson": body}, "requestMetadata": {"app": "abc"[n]}}
        (tmp_path / f"{n}.json.gz").write_bytes(gzip.compress(json.dumps(log).encode()))
    result, _ = run(
        f"{tmp_path}/",
        base_model_id="amazon.nova-micro-v1:0",
        customization_type="DISTILLATION",
        invocation_logs_config={"requestMetadataFilters": {"notEquals": {"app": "b"}}},
        fail_on_problems=False,
    )
    assert (result["records"], result["problems"]) == (2, {"dataset": 1})


def test_places_are_templated() -> None:
    """A backfill checks each interval's data."""
    fields = set(BedrockDatasetCheckOperator.template_fields)
    assert {"training_data_uri", "validation_data_uri", "test_data_uri", "base_model_id"} <= fields
