"""The commands and the whole DAGs of the documentation run as they stand there, on Local Bedrock.

But for `airflow-bedrock local` and what is piped into a file: tests/integration/local/test_docs_commands.py runs those.
A DAG of reinforcement fine-tuning needs a grader: tests/integration/test_gallery.py runs one.
"""

from __future__ import annotations

import json
import re
import shlex
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.local import LocalBedrock
from tests.dag_files import load

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
    """With the buckets, the role, the data and the job that the pages name."""
    local = local_bedrock_module
    rows = [json.dumps({"prompt": f"Question {n}?", "completion": f"Answer {n}."}) + "\n" for n in range(60)]
    with (
        closing(local.client("s3")) as s3,
        closing(local.client("bedrock")) as bedrock,
        closing(local.client("iam")) as iam,
    ):
        trust = {"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole"}
        may = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        role = "bedrock-customization"
        iam.create_role(
            RoleName=role, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )
        iam.put_role_policy(
            RoleName=role, PolicyName="data", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [may]})
        )
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


def dag_of(page: str, dag_id: str, folder: Path) -> Any:
    """Return a DAG whose whole file stands in a page."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS.parent / page).read_text(), re.M | re.S)
    [code] = [block for block in blocks if f'with DAG("{dag_id}"' in block]
    file = folder / f"{dag_id}.py"
    file.write_text(code)
    return load(file).dag


@pytest.mark.parametrize(
    ("page", "dag_id", "bucket", "jobs"),
    [
        ("README.md", "retrain", "my-bucket", 1),
        ("docs/methods.md", "sweep", "", 3),
        ("docs/methods.md", "distil", "", 1),
        ("docs/metrics.md", "told", "", 1),
    ],
)
def test_a_dag_of_the_docs_runs(
    page: str, dag_id: str, bucket: str, jobs: int, airflow_database: Path, local: LocalBedrock, tmp_path: Path
) -> None:
    """From data where it says that they are, to as many jobs as it says."""
    with closing(local.client("s3")) as s3, closing(local.client("sns")) as sns:
        for key in ("train.jsonl", "prompts.jsonl", "2026-02-01/train.jsonl"):
            numbers = range(len(page + dag_id) * 10, 2000)  # other data than the other DAGs have
            s3.put_object(Bucket=bucket or local.bucket, Key=key, Body="".join(map(record, numbers[:120])).encode())
        sns.create_topic(Name="models")
    before = len(local.calls.of("CreateModelCustomizationJob"))
    run = dag_of(page, dag_id, tmp_path).test(logical_date=datetime(2026, 2, 1, tzinfo=UTC))
    assert run.state == "success"
    made = local.calls.of("CreateModelCustomizationJob")[before:]
    assert [one.status for one in made] == [201] * jobs


def test_the_commands_are_found() -> None:
    """And the one that is to fail is among them."""
    assert {command.split()[0] for command in COMMANDS} >= {"check", "estimate", "prepare", "jobs", "watch", "report"}
    assert NO_QUESTION in COMMANDS
