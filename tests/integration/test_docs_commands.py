"""The commands, the whole DAGs and the fragments of the documentation run as they stand there, on Local Bedrock.

ELSEWHERE says which other tests run what is left, NOT_HERE by which words a page says that nothing runs it.
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
from airflow.sdk import DAG

from airflow_bedrock.cli import main
from airflow_bedrock.evaluation import metrics
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.shapes import missing_in_botocore
from scripts.training_data import record
from tests.dag_files import load
from tests.graders import grader

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = sorted(
    {
        re.sub(r"\s+#.*", "", command).strip()
        for page in DOCS.glob("*.md")
        for block in re.findall(r"^```(?:\w*)\n(.*?)^```", page.read_text(), re.M | re.S)
        for command in re.findall(r"^(?:\$ )?airflow-bedrock (?!local )([^|>\n]+)", block, re.M)
    }
)
MONTHS = ("2026-09", "2026-10", "2026-11")
NO_QUESTION = "approve 1f0c8a5de207 --registry s3://my-bucket/registry"  # a gate has asked none here
BATCH = "CreateModelInvocationJob.modelInvocationType"  # of the operator that answers in a batch
RFT = "CreateModelCustomizationJob.customizationConfig.rftConfig"
KNOWS_RFT = pytest.mark.skipif(bool(missing_in_botocore(RFT)), reason="this botocore does not know the method")
pytestmark = pytest.mark.local_bedrock(job_seconds=0.2, allow_graders=True)


def chat(number: int) -> str:
    return record(f"Question {number}?", f"Answer {number}.")


def graded(number: int) -> str:
    messages = [{"role": "user", "content": f"Question {number}?"}]
    return json.dumps({"messages": messages, "reference_answer": f"Answer {number}."}) + "\n"


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
        s3.put_object(Bucket="bucket", Key="train.jsonl", Body="".join(map(chat, range(60))).encode())
        s3.put_object(Bucket="bucket", Key="validation.jsonl", Body="".join(map(chat, range(60, 80))).encode())
        for month in MONTHS:
            s3.put_object(Bucket="bucket", Key=f"raw/{month}/a.jsonl", Body="".join(rows).encode())
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
        (tmp_path / name).write_text("".join(map(chat, numbers)))
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
        pytest.param("docs/methods.md", "reinforce", "", 1, marks=KNOWS_RFT),
        ("docs/metrics.md", "notify", "", 1),
    ],
)
def test_a_dag_of_the_docs_runs(
    page: str, dag_id: str, bucket: str, jobs: int, airflow_database: Path, local: LocalBedrock, tmp_path: Path
) -> None:
    """From data where it says that they are, to as many jobs as it says."""
    write = graded if dag_id == "reinforce" else chat
    with closing(local.client("s3")) as s3, closing(local.client("sns")) as sns:
        if dag_id == "reinforce":
            grader(local, "grader")
        for key in ("train.jsonl", "prompts.jsonl", "2026-02-01/train.jsonl"):
            numbers = range(len(page + dag_id) * 10, 2000)  # other data than the other DAGs have
            s3.put_object(Bucket=bucket or local.bucket, Key=key, Body="".join(map(write, numbers[:120])).encode())
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


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the blocks of code of a page, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S)


def fragments(page: Path) -> list[str]:
    """Return the Python of a page that is no whole DAG."""
    return [code for language, code in blocks(page) if language == "python" and "with DAG(" not in code]


def elided(fragment: str) -> str:
    """Return a fragment with what its dots stand for."""
    return re.sub(r"(\w+)\(\.\.\., ", r"\1(**left_out('\1'), ", fragment)


LEFT_OUT: dict[str, dict[str, Any]] = {
    "BedrockModelCustomizationOperator": {
        "job_name": "router",
        "custom_model_name": "router",
        "role_arn": "arn:aws:iam::123456789012:role/bedrock-customization",
        "base_model_id": "amazon.nova-micro-v1:0:128k",
        "training_data_uri": "s3://bucket/train.jsonl",
        "output_data_uri": "s3://bucket/output",
    },
    "BedrockDatasetPreparationOperator": {
        "source_uri": "s3://bucket/raw/2026-11/",
        "output_uri": "s3://bucket/redacted",
        "base_model_id": "amazon.nova-micro-v1:0:128k",
    },
}
BEFORE = """
from airflow_bedrock.operators import *
customize = BedrockModelCustomizationOperator(**left_out("BedrockModelCustomizationOperator"))
prepare = BedrockDatasetPreparationOperator(**left_out("BedrockDatasetPreparationOperator"))
deploy = BedrockCustomModelDeploymentOperator(task_id="deploy", model_arn=customize.output, deployment_name="router")
"""
FRAGMENTS = sorted(page.name for page in DOCS.glob("*.md") if fragments(page) and page.name != "local-bedrock.md")


def monthly(fragment: str) -> list[str]:
    """Return a fragment about a month for each of them, others as they are."""
    if "raw/2026-11/" not in fragment:
        return [fragment]
    own = fragment.replace('task_id="prepare"', 'task_id="prepare-2026-11"')
    return [own.replace("2026-11", month) for month in MONTHS]


@pytest.mark.parametrize("page", FRAGMENTS)
def test_the_fragments_of_a_page_are_taken(page: str, local: LocalBedrock) -> None:
    """One after the other, as Airflow parses a DAG; those about data are run, too."""
    if page == "evaluation.md" and (missing := missing_in_botocore("CreateModelInvocationJob.modelInvocationType")):
        pytest.skip(missing)
    dag: Any = DAG("fragments", schedule=None, params={"model_arn": "arn"})
    names: dict[str, Any] = {"left_out": lambda name: {"task_id": f"task-{len(dag.tasks)}", **LEFT_OUT[name]}}
    with dag:
        exec(BEFORE, names)  # noqa: S102 - this file's own
        before = len(dag.tasks)
        for fragment in fragments(DOCS / page):
            if "presidio" in fragment:
                assert f"(it was not run here):\n\n```python\n{fragment}" in (DOCS / page).read_text()
                continue
            if "BedrockBatchAnswersOperator" in fragment and (missing := missing_in_botocore(BATCH)):
                pytest.skip(missing)
            for one in monthly(fragment):
                exec(compile(elided(one), page, "exec"), names)  # noqa: S102 - this project's own page
    if page == "datasets.md":
        for task in dag.tasks[before:]:
            task.execute({})
    for one in names.get("metrics", ()):
        metrics.check(one)


def test_the_queue_of_the_docs_receives_new_data(local: LocalBedrock) -> None:
    """By the AWS CLI, command by command."""
    cli = pytest.importorskip("awscli.clidriver")
    [commands] = [code for language, code in blocks(DOCS / "retraining.md") if "aws sqs" in code]
    for command in re.split(r"\n(?=aws )", commands.strip()):
        # The AWS CLI before version 2 has an endpoint of its own for SQS, which wins over the environment's.
        assert cli.create_clidriver().main(["--endpoint-url", local.endpoint_url, *shlex.split(command)[1:]]) == 0
    with closing(local.client("sqs")) as sqs, closing(local.client("events")) as events:
        assert events.list_targets_by_rule(Rule="new-data")["Targets"][0]["Arn"].endswith(":new-data")
        assert sqs.get_queue_url(QueueName="new-data")["QueueUrl"]


ELSEWHERE = {
    "aws.md": "integration/local/test_aws_docs.py",
    "backfill.md": "live/backfills.py",
    "local-bedrock.md": "integration/local/test_docs_commands.py",
    "retraining.md": "integration/test_docs_commands.py",
    "laptop.md": "live/test_demo.py",
}
NOT_HERE = {
    "laptop.md": "no image was built or pulled here",
    "mwaa.md": "None of this was run on AWS",
    "kubernetes.md": "Nothing on this page was installed here",
    "compatibility.md": "`make test-compat` does the same",
}


def test_each_command_of_the_docs_is_run_or_listed_as_not_run() -> None:
    """But for pip's, and this package's own, which run above."""
    shells = ("", "sh", "bash", "console")
    for page in DOCS.glob("*.md"):
        commands = [line for language, code in blocks(page) if language in shells for line in code.splitlines()]
        if all(re.match(r"(\$ )?(airflow-bedrock|pip install) |\s|$", line) for line in commands):
            continue
        assert page.name in {*ELSEWHERE, *NOT_HERE}, commands
        assert NOT_HERE.get(page.name, "") in page.read_text()
        if page.name in ELSEWHERE:
            assert page.name in (DOCS.parent / "tests" / ELSEWHERE[page.name]).read_text()
