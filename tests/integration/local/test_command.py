"""The command ``airflow-bedrock local``, used through the AWS CLI: a model's whole life, and a second run of it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.local.command import _warning, add_arguments, announcement
from airflow_bedrock.local.settings import Settings
from tests.integration.local.conftest import wait

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

PROGRAMS = Path(sys.executable).parent


def has_ipv6() -> bool:
    """Whether this computer can listen on the loopback address of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


class Shell:
    """A shell in which the command's exports were made."""

    def __init__(self, exports: dict[str, str], folder: Path) -> None:
        self.variables = exports
        self._environment = {**os.environ, **exports, "AWS_PAGER": ""}
        self._folder = folder

    def aws(self, *arguments: str, fails: bool = False) -> Any:
        ran = subprocess.run(
            [PROGRAMS / "aws", *arguments],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if fails:
            return ran.stderr
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout) if ran.stdout.strip().startswith("{") else ran.stdout.strip()

    def client(self, service: str) -> Any:
        make: Any = boto3.client  # its stubs know one overload a service
        return make(
            service,
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            region_name=self.variables["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
        )


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Shell]:
    """Run the command as a process, and end it as a supervisor would; it has to end cleanly."""
    process = subprocess.Popen(
        [PROGRAMS / "airflow-bedrock", "local", "--port", "0", "--job-seconds", "0.5", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        exports: dict[str, str] = {}
        for line in process.stdout:
            if not line.startswith("export "):
                break
            name, _, value = shlex.split(line)[1].partition("=")
            exports[name] = value
        yield Shell(exports, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")


def test_life_of_a_model_in_two_runs(service: Service, tmp_path: Path) -> None:
    """With the AWS CLI: upload, create from a JSON file, wait, deploy, ask; a second run has kept it all."""
    state = ("--state", str(tmp_path / "state"))
    (tmp_path / "train.jsonl").write_text(service.dataset(60))
    question, answer = service.questions(1)[0]
    messages = json.dumps([{"role": "user", "content": [{"text": question}]}])
    with running(tmp_path, *state) as shell, closing(shell.client("bedrock")) as bedrock:
        bucket = shell.variables["AIRFLOW_VAR_BEDROCK_BUCKET"]
        shell.aws("s3", "cp", "--quiet", "train.jsonl", f"s3://{bucket}/data/train.jsonl")
        request = {
            "jobName": "support-1",
            "customModelName": "support",
            "roleArn": shell.variables["AIRFLOW_VAR_BEDROCK_ROLE_ARN"],
            "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
            "trainingDataConfig": {"s3Uri": f"s3://{bucket}/data/train.jsonl"},
            "outputDataConfig": {"s3Uri": f"s3://{bucket}/out/"},
            "hyperParameters": {"epochCount": "2"},
        }
        (tmp_path / "job.json").write_text(json.dumps(request))
        create = ("bedrock", "create-model-customization-job", "--cli-input-json", "file://job.json")
        job = shell.aws(*create)["jobArn"]
        assert "The provided job name is currently in use." in shell.aws(*create, fails=True)
        assert (
            wait(lambda: bedrock.get_model_customization_job(jobIdentifier=job), "InProgress")["status"] == "Completed"
        )
        model = shell.aws("bedrock", "get-custom-model", "--model-identifier", "support")["modelArn"]
        deploy = ("bedrock", "create-custom-model-deployment", "--model-deployment-name", "support")
        deployment = shell.aws(*deploy, "--model-arn", model)["customModelDeploymentArn"]
        wait(lambda: bedrock.get_custom_model_deployment(customModelDeploymentIdentifier="support"), "Creating")
        with closing(shell.client("s3")) as s3:
            before = s3.head_object(Bucket=bucket, Key="data/train.jsonl")["ETag"]
        request = {**request, "jobName": "support-2", "customModelName": "support-2"}
        (tmp_path / "job.json").write_text(json.dumps(request))
        shell.aws(*create)
    kept = tmp_path / "state" / "s3" / bucket
    assert (kept / "data/train.jsonl").read_text() == service.dataset(60)
    assert list(kept.glob("out/*/training_artifacts/step_wise_training_metrics.csv"))
    (kept / "added-by-hand.txt").write_text("hello")

    with running(tmp_path, *state) as shell, closing(shell.client("bedrock")) as bedrock:
        second = wait(lambda: bedrock.get_model_customization_job(jobIdentifier="support-2"), "InProgress")
        assert second["status"] == "Completed"
        assert shell.aws("s3api", "head-object", "--bucket", bucket, "--key", "data/train.jsonl")["ETag"] == before
        assert shell.aws("s3", "cp", f"s3://{bucket}/added-by-hand.txt", "-").strip() == "hello"
        said = shell.aws("bedrock-runtime", "converse", "--model-id", deployment, "--messages", messages)
        assert said["output"]["message"]["content"] == [{"text": answer}]
        bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=deployment)
        bedrock.delete_custom_model(modelIdentifier="support")
        get = ("bedrock", "get-custom-model-deployment", "--custom-model-deployment-identifier", "support")
        assert "ResourceNotFoundException" in shell.aws(*get, fails=True)
    weights = [path.name for path in (tmp_path / "state" / "models").iterdir()]
    assert len(weights) == 1
    assert not weights[0].startswith(model.rpartition("/")[2])


def test_state_that_cannot_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state directory with something else in it is refused, and left unchanged."""
    (tmp_path / "state.sqlite").write_text("{}")
    assert main(["local", "--port", "0", "--state", str(tmp_path)]) == 1
    assert "state.sqlite was not written by this version" in capsys.readouterr().err
    assert (tmp_path / "state.sqlite").read_text() == "{}"


def test_state_of_an_earlier_version_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """State of an earlier version is not ignored."""
    (tmp_path / "state.jsonl").write_text('{"airflow-bedrock local state":3}\n')
    assert main(["local", "--port", "0", "--state", str(tmp_path)]) == 1
    assert "state.jsonl was written by an earlier version" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "state.jsonl"]


def test_a_file_of_the_state_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not the port, which is free."""
    with LocalBedrock(state=tmp_path) as local, closing(local.client("s3")) as s3:
        s3.put_object(Bucket=local.bucket, Key="data", Body=b"hello")
    file = tmp_path / "s3" / "airflow-bedrock-local" / "data"
    file.unlink()
    file.mkdir()
    assert main(["local", "--port", "0", "--state", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"The state in {tmp_path} cannot be read: " in said
    assert str(file) in said


def test_a_state_that_cannot_be_written_is_not_taken_for_another_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a directory without write permission; here, SQLite cannot make its log beside the file."""
    (tmp_path / "state.sqlite-wal").mkdir()
    assert main(["local", "--port", "0", "--state", str(tmp_path)]) == 1
    assert f"{tmp_path / 'state.sqlite'} cannot be used: " in capsys.readouterr().err


def test_a_port_in_use_is_reported(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the port in use and what to do."""
    assert main(["local", "--port", service.local.endpoint_url.rpartition(":")[2]]) == 1
    assert "Stop the program that uses the port, or choose another with --port." in capsys.readouterr().err


def test_an_address_of_another_computer_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the address, and does not blame the port."""
    assert main(["local", "--host", "192.0.2.7", "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert "could not listen on 192.0.2.7:0: " in said
    assert said.endswith("Choose another address with --host, or another port with --port.\n")


@pytest.mark.skipif(not has_ipv6(), reason="this computer has no IPv6")
def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    """Without them a client takes the end of the address for the port."""
    with LocalBedrock("::1") as local, closing(local.client("s3")) as s3:
        assert local.endpoint_url.startswith("http://[::1]:")
        assert local.bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_a_port_that_cannot_be_is_reported(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit):
        main(["local", "--port", port])
    assert "argument --port: must be a port from 0 to 65535" in capsys.readouterr().err


def test_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names every option and its default."""
    with pytest.raises(SystemExit) as ended:
        main(["local", "--help"])
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--job-seconds" in told
    assert "default: 5.0" in told


@pytest.mark.parametrize("setting", ["allow_graders", "enforce_iam"])
@pytest.mark.parametrize("given", [True, False])
def test_switches_are_off_unless_they_are_given(setting: str, given: bool) -> None:
    """The option becomes the setting: graders run, and IAM is enforced, only where it is asked for."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parsed = vars(parser.parse_args([f"--{setting.replace('_', '-')}"] * given))
    assert getattr(Settings(**{setting: parsed[setting]}), setting) is given
    assert getattr(Settings(), setting) is False


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_is_not_warned_of(host: str) -> None:
    """An address that only this computer reaches needs no warning."""
    assert _warning(host) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "build-server"])  # noqa: S104  # not bound
def test_other_addresses_are_warned_of(host: str) -> None:
    """A warning says that others can reach the address, and what that means."""
    assert "requires no credentials" in _warning(host)


def test_warning_and_clean_end(tmp_path: Path) -> None:
    """On every interface it warns on stderr, serves, and ends well on SIGTERM in the middle of a job."""
    process = subprocess.Popen(
        [PROGRAMS / "airflow-bedrock", "local", "--host", "0.0.0.0", "--port", "0", "--quota", "training_jobs=7"],  # noqa: S104  # that is the test
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    exports = [process.stdout.readline() for _ in range(8)]
    told = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "requires no credentials" in errors
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:" in exports[0]
    assert "export AIRFLOW__BEDROCK__POLL_INTERVAL=0.5\n" in exports
    url = exports[0].strip().partition("=")[2]
    assert f" listens on {url}. " in told[0]
    assert told[1].startswith(f"# {url}/_local/ ")


def test_an_api_key_for_aws_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients prefer it to the access key; since botocore 1.44 they refuse to send it over HTTP."""
    with LocalBedrock() as local:
        assert "unset" not in announcement(local)
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-of-aws")
        assert "\nunset AWS_BEARER_TOKEN_BEDROCK\n" in announcement(local)


@pytest.mark.parametrize("quota", ["jobs=1", "training_jobs", "training_jobs=many"])
def test_an_invalid_quota_is_reported(quota: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt quota is an error of the command line."""
    with pytest.raises(SystemExit) as ended:
        main(["local", "--quota", quota])
    assert ended.value.code == 2
    assert repr(quota) in capsys.readouterr().err


def test_contradictory_clock_settings_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that exclude each other end it with a message."""
    assert main(["local", "--clock", "manual", "--speed", "60"]) == 1
    assert "A manual clock has no speed." in capsys.readouterr().err
