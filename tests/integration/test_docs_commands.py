"""Each command of the documentation that stands in a block of its own runs as it stands there, on Local Bedrock.

But for `airflow-bedrock local` and what is piped into a file: tests/integration/local/test_docs_commands.py runs those.
"""

from __future__ import annotations

import json
import re
import shlex
from contextlib import closing
from pathlib import Path

import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.local import LocalBedrock

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = sorted(
    {
        re.sub(r"\s+#.*", "", command).strip()
        for page in DOCS.glob("*.md")
        for block in re.findall(r"^```(?:\w*)\n(.*?)^```", page.read_text(), re.M | re.S)
        for command in re.findall(r"^(?:\$ )?airflow-bedrock (?!local )([^|>\n]+)", block, re.M)
    }
)
NO_QUESTION = "approve 1f0c8a5de207 --registry s3://my-bucket/registry"  # a gate has asked none here
pytestmark = pytest.mark.local_bedrock(job_seconds=0.2)


def record(number: int) -> str:
    turns = [("user", f"Question {number}?"), ("assistant", f"Answer {number}.")]
    messages = [{"role": role, "content": [{"text": text}]} for role, text in turns]
    return json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": messages}) + "\n"


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    """With the buckets, the data and the job that the commands name."""
    local = local_bedrock_module
    rows = [json.dumps({"prompt": f"Question {n}?", "completion": f"Answer {n}."}) + "\n" for n in range(60)]
    with closing(local.client("s3")) as s3, closing(local.client("bedrock")) as bedrock:
        for bucket in ("bucket", "my-bucket"):
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket="bucket", Key="train.jsonl", Body="".join(map(record, range(60))).encode())
        s3.put_object(Bucket="bucket", Key="raw/2026-11/a.jsonl", Body="".join(rows).encode())
        bedrock.create_model_customization_job(
            jobName="router",
            customModelName="router",
            roleArn=local.role_arn,
            baseModelIdentifier="amazon.nova-micro-v1:0:128k",
            trainingDataConfig={"s3Uri": "s3://bucket/train.jsonl"},
            outputDataConfig={"s3Uri": "s3://bucket/output"},
        )
        while bedrock.get_model_customization_job(jobIdentifier="router")["status"] == "InProgress":
            pass
    return local


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_runs(
    command: str, local: LocalBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with the files that it names."""
    for name, numbers in (("train.jsonl", range(60)), ("validation.jsonl", range(60, 70))):
        (tmp_path / name).write_text("".join(map(record, numbers)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://127.0.0.1:1")  # no Airflow: which tasks wait is not known
    monkeypatch.setenv("AIRFLOW__BEDROCK__REGISTRY_URI", "s3://my-bucket/registry")
    assert main(shlex.split(command)) == (1 if command == NO_QUESTION else 0)


def test_the_commands_are_found() -> None:
    """And the one that is to fail is among them."""
    assert {command.split()[0] for command in COMMANDS} >= {"check", "estimate", "prepare", "jobs", "watch", "report"}
    assert NO_QUESTION in COMMANDS
