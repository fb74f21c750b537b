"""The command line's commands as a whole."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_bedrock.cli import _COMMANDS, main


def test_the_help_lists_each_command_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Below how the command is called."""
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "usage: airflow-bedrock <command> ..."
    assert [line.split()[0] for line in printed[-len(_COMMANDS) :]] == list(_COMMANDS)


@pytest.mark.parametrize("command", _COMMANDS)
def test_each_option_says_what_it_is_for(command: str) -> None:
    """And none hides the name of its value."""
    module, said = _COMMANDS[command]
    parser = argparse.ArgumentParser()
    importlib.import_module(module).add_arguments(parser)
    assert said
    assert all(action.help and action.metavar != "" for action in parser._actions)


@pytest.mark.parametrize(
    ("command", "option", "text", "number"),
    [
        ("check", "--near-overlaps", "0", 0),
        ("check", "--near-overlaps", "0.8", 0.8),
        ("check", "--near-overlaps", "1", 1),
        ("check", "--near-overlaps", "1.1", None),
        ("check", "--near-overlaps", "similar", None),
        ("estimate", "--epochs", "1", 1),
        ("estimate", "--epochs", "0", None),
    ],
)
def test_an_option_takes_the_numbers_that_it_names(command: str, option: str, text: str, number: float | None) -> None:
    """Another one ends the command before it reads anything."""
    parser = argparse.ArgumentParser()
    importlib.import_module(_COMMANDS[command][0]).add_arguments(parser)
    arguments = ["data", "--model", "amazon.nova-micro-v1:0", option, text]
    if number is None:
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
    else:
        assert getattr(parser.parse_args(arguments), option[2:].replace("-", "_")) == number


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--start", "tomorrow", "must be a time such as 2026-06-01"),
        ("--quota", "jobs=3", "must be NAME=NUMBER, with one of these names: scheduled_jobs, training_jobs"),
        ("--quota", "scheduled_jobs=many", "must be NAME=NUMBER"),
    ],
)
def test_a_wrong_setting_of_local_bedrock_is_answered_with_a_right_one(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not start."""
    with pytest.raises(SystemExit):
        main(["local", option, value])
    assert said in capsys.readouterr().err


def test_without_a_command_the_help_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit code is that of a wrong command line."""
    assert main([]) == 2
    listed = capsys.readouterr().err
    assert all(f"  {command}" in listed for command in _COMMANDS)


@pytest.mark.parametrize("command", ["report", "watch"])
def test_without_a_region_the_error_says_where_to_set_it(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """AWS's own sentence says only that there must be one."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert main([command, "router"]) == 1
    assert "No AWS region is set. Set region_name in the extra of the Airflow connection" in capsys.readouterr().err


CALLS = pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["jobs"], 1),
        (["watch", "router"], 1),
        (["report", "router"], 1),
        (["models", "--registry", "s3://bucket/registry"], 1),
        (["rollback", "router", "--registry", "s3://bucket/registry"], 1),
        (["approve", "--registry", "s3://bucket/registry"], 1),
        (["spend", "--ledger", "s3://bucket/spend"], 1),
        (["check", "s3://bucket/train.jsonl", "--model", "amazon.nova-micro-v1:0"], 2),
        (["estimate", "s3://bucket/train.jsonl", "--model", "amazon.nova-micro-v1:0"], 2),
        (["prepare", "s3://bucket/raw/", "--output", "s3://bucket/out", "--model", "amazon.nova-micro-v1:0"], 2),
    ],
)
"""A call of each command that calls AWS, and its exit code if that fails."""


@CALLS
def test_an_invalid_endpoint_is_one_sentence(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Botocore raises a ValueError for it, which is an error of no call."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    assert main(arguments) == code
    assert "Invalid endpoint: nonsense" in capsys.readouterr().err


@CALLS
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_EC2_METADATA_DISABLED", "true", "Unable to locate credentials. Set AWS_PROFILE, or the credentials of"),
        ("AWS_PROFILE", "nobody", "The config profile (nobody) could not be found. Set AWS_PROFILE, or profile_name"),
    ],
)
def test_missing_credentials_are_one_sentence_and_what_to_do(
    arguments: list[str],
    code: int,
    variable: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """And one remedy: neither the permissions nor the URI need a check. No command tries again by itself."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it may have the credentials of an earlier test
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv(variable, value)
    assert main(arguments) == code
    last = capsys.readouterr().err.splitlines()[-1]  # after the log
    assert said in last
    assert "Check" not in last


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", ""],
        ["report", "router", "--aws-conn-id", ""],
        ["watch", " "],
        ["watch", "router", "--delay", "0"],
        ["watch", "router", "--delay", "nan"],
        ["watch", "router", "--delay", "soon"],
        ["rollback", ""],
        ["approve", ""],
        ["models", "--name", ""],
        ["rollback", "router", "--to", ""],
        ["rollback", "router", "--to="],
        ["jobs", "--orphans", "--stop", "--environment", " "],
        ["spend", "--ledger", ""],
        ["estimate", "train.jsonl", "--model", ""],
    ],
)
def test_an_empty_name_and_a_delay_of_no_time_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a variable of the shell is not set: Bedrock would answer the Get of no name with a List."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert re.search("must not be empty|invalid seconds value", capsys.readouterr().err)


def test_an_unknown_connection_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A hook would go on with boto3's own credentials, and read the jobs of another account."""
    monkeypatch.setattr("airflow_bedrock.jobs.report_command.BedrockHook", None)  # not reached
    with pytest.raises(SystemExit, match="2"):
        main(["report", "router", "--aws-conn-id", "nobody"])
    assert "--aws-conn-id: Airflow has no connection 'nobody', or cannot read it, in" in capsys.readouterr().err


def test_a_reader_that_leaves_ends_a_command_quietly() -> None:
    """As of ``airflow-bedrock jobs | head -n 1``: no traceback."""
    read, write = os.pipe()
    os.close(read)
    program = "from airflow_bedrock.cli import main; raise SystemExit(main(['skeleton']))"
    try:
        done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_while_airflow_loads_ends_a_command_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loading it takes seconds, in which a person may notice a mistake: no traceback."""

    def interrupted(command: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_bedrock.cli._load", interrupted)
    assert main(["jobs"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_one_sentence() -> None:
    """As of ``airflow-bedrock skeleton > job.yaml``: no traceback."""
    program = "from airflow_bedrock.cli import main; raise SystemExit(main(['skeleton']))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "airflow-bedrock skeleton: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("command", ["check", "estimate", "prepare"])
def test_a_terminal_that_does_not_know_a_character_gets_another(command: str) -> None:
    """The names of the arguments have dots that are one character."""
    program = f"from airflow_bedrock.cli import main; main([{command!r}, '--help'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PATH|s3://?" in done.stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [("local", "pip install 'airflow-bedrock[local]'"), ("check", "driver of the database")],
)
def test_what_is_not_installed_is_named(command: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local Bedrock has an extra; what Airflow's own configuration needs does not come with this package."""
    module, help_ = _COMMANDS[command]
    monkeypatch.setitem(_COMMANDS, command, (f"not_installed.{module}", help_))
    with pytest.raises(SystemExit, match=rf"needs not_installed.*{re.escape(said)}"):
        main([command])


@pytest.mark.parametrize("command", [["check"], ["estimate"], ["prepare", "--output", "out"]])
def test_data_from_a_pipe_is_refused(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of ``airflow-bedrock check <(zcat train.jsonl.gz)``: it seemed to have no record."""
    monkeypatch.chdir(tmp_path)
    read, write = os.pipe()
    os.close(write)
    try:
        assert main([*command, f"/dev/fd/{read}", "--model", "amazon.nova-micro-v1:0"]) == 2
    finally:
        os.close(read)
    assert "is a pipe, which can be read only once. Write the data to a file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "estimate"])
def test_a_bucket_in_place_of_an_object_is_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error of botocore names neither."""
    assert main([command, "s3://my-bucket", "--model", "amazon.nova-micro-v1:0"]) == 2
    said = f"airflow-bedrock {command}: s3://my-bucket is a bucket. Name one object in it\n"
    assert capsys.readouterr().err == said
