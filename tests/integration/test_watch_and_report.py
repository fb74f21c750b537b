"""airflow-bedrock watch and report, on Local Bedrock: what a person reads of a job, and what a script does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from airflow_bedrock import __version__
from airflow_bedrock.cli import main
from airflow_bedrock.jobs import watch_command
from airflow_bedrock.local import LocalBedrock
from scripts.training_data import record

pytestmark = pytest.mark.local_bedrock(clock="manual", job_seconds=100)


@pytest.fixture
def job(local_bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a job that goes on whenever the command sleeps."""
    local = local_bedrock
    clock = SimpleNamespace(sleep=local.clock.advance, time=local.clock.time)
    monkeypatch.setattr(watch_command, "time", clock)
    with closing(local.client("s3")) as s3, closing(local.client("bedrock")) as bedrock:
        s3.put_object(Bucket=local.bucket, Key="train.jsonl", Body=record() * 64)
        bedrock.create_model_customization_job(
            jobName="support",
            customModelName="support",
            roleArn=local.role_arn,
            baseModelIdentifier="amazon.nova-micro-v1:0:128k",
            trainingDataConfig={"s3Uri": f"s3://{local.bucket}/train.jsonl"},
            outputDataConfig={"s3Uri": f"s3://{local.bucket}/output"},
            hyperParameters={"epochCount": "2"},
        )
    return "support"


def test_a_job_is_followed_to_its_end(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With its phases, its speed and its loss curve, and exit code 0."""
    assert main(["watch", job, "--delay", "10"]) == 0
    said = capsys.readouterr().out
    assert said.index("Job support is InProgress") < said.index("training InProgress") < said.index("is Completed")
    assert "steps a second" in said
    assert "Training loss  █" in said


def test_ctrl_c_ends_it_without_a_traceback(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job runs on, and the exit code is a shell's."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch_command, "time", SimpleNamespace(sleep=interrupted))
    assert main(["watch", job]) == 130
    assert capsys.readouterr().err.endswith("Interrupted.\n")


def test_a_script_reads_an_object_for_each_change(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line; no step comes twice."""
    assert main(["watch", job, "--delay", "10", "--format", "json"]) == 0
    seen = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [seen[0]["status"], seen[-1]["status"]] == ["InProgress", "Completed"]
    steps = [one["step"] for one in seen if "step" in one]
    assert steps == sorted(set(steps))
    assert len(steps) > 2


def test_a_job_that_fails_or_is_missing_is_an_exit_code(
    job: str, local_bedrock: LocalBedrock, capsys: pytest.CaptureFixture[str]
) -> None:
    """1, and the reason of the failure is printed."""
    local_bedrock.faults.fail_job("training", "Broken.", job=job)
    assert main(["watch", job, "--delay", "10"]) == 1
    assert "Broken." in capsys.readouterr().out
    assert main(["report", job]) == 0
    assert "Failure        Broken." in capsys.readouterr().out
    assert main(["watch", "another", "--delay", "30"]) == 1
    assert main(["report", "another"]) == 1
    assert "There is no customization job another in region us-east-1. Check the region" in capsys.readouterr().err


def test_the_report_of_a_job(job: str, local_bedrock: LocalBedrock, capsys: pytest.CaptureFixture[str]) -> None:
    """While it runs and after its end, as text and as JSON."""
    assert main(["report", job]) == 0
    running = capsys.readouterr().out
    assert "Status         InProgress" in running
    assert "EPOCH" not in running
    local_bedrock.clock.advance(1000)
    assert main(["report", job]) == 0
    text = capsys.readouterr().out
    assert "training         Completed  1 min 10 s" in text
    assert main(["report", job, "--format", "json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["console_url"] == f"{local_bedrock.endpoint_url}/_local/#{report['job_arn']}"
    assert [one["epoch"] for one in report["losses_by_epoch"]] == [1, 2]
    first, *_, last = report["losses_by_step"]
    assert first[0] == 1
    assert last[1] < first[1]
    assert f"2      {report['losses_by_epoch'][1]['training_loss']:.4f}" in text
    assert [phase["status"] for phase in report["phases"]] == ["Completed"] * 3


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the package, with exit code 0."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"airflow-bedrock {__version__}\n"


@pytest.mark.parametrize("command", ["check", "estimate"])
def test_data_that_is_not_there_is_said_with_its_uri(
    command: str, local_bedrock: LocalBedrock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not as S3's 404 to a HeadObject."""
    missing = f"s3://{local_bedrock.bucket}/nowhere.jsonl"
    assert main([command, missing, "--model", "amazon.nova-micro-v1:0"]) == 2
    assert f"airflow-bedrock {command}: there is no object {missing}. Check the URI\n" in capsys.readouterr().err


def test_a_connection_of_the_metadata_database_or_the_environment(job: str, tmp_path: Path) -> None:
    """Outside a task, hooks do not read a database's by themselves. A command logs nothing while nothing is wrong."""
    made = """
from airflow.models import Connection, import_all_models
from airflow.models.base import Base
from airflow.settings import Session, engine
import_all_models()
Base.metadata.create_all(engine)
Session.add(Connection("in_the_database", "aws", extra={"region_name": "us-east-1"}))
Session.commit()
"""
    database = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "PYTHONWARNINGS": "ignore",  # the amazon provider 9.25 calls what Airflow 3.2 deprecates
    }
    environment = {**os.environ, **database, "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode()}
    environment.pop("AIRFLOW__LOGGING__LOGGING_LEVEL", None)
    subprocess.run([sys.executable, "-c", made], env=environment, check=True)
    report = "from airflow_bedrock.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", report, "report", job, "--format", "json", "--aws-conn-id"]
    without_key = {name: value for name, value in environment.items() if name != "AIRFLOW__CORE__FERNET_KEY"}
    for conn_id, variables in (("in_the_database", environment), ("aws_default", without_key)):
        done = subprocess.run([*command, conn_id], env=variables, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["job_name"] == job
