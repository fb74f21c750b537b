"""What `make ui` does beside starting programs: another port where one is taken, the exports for a second shell."""

from __future__ import annotations

import argparse
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from airflow_bedrock.local.command import add_arguments
from scripts import demo, stack, ui
from scripts.stack import BIN, Airflow, StartError


def test_a_port_that_is_taken_is_replaced_by_a_free_one(capsys: pytest.CaptureFixture[str]) -> None:
    """And nobody is sent to whatever listens there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert ui._free(taken) != taken
    assert f"Port {taken} is in use" in capsys.readouterr().out
    assert ui._free(taken) == taken


def test_a_second_shell_leads_to_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To this Airflow, its database and Local Bedrock; the programs are those of this environment."""
    monkeypatch.setenv("ALREADY_THERE", "stays")
    given = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4599", "QUOTED": "it's $HOME", "ALREADY_THERE": "stays"}
    airflow = Airflow(tmp_path / "airflow", given, port=8080, dags=tmp_path)
    exports = ui._exports(airflow)
    assert "ALREADY_THERE" not in exports
    (tmp_path / "exports.sh").write_text(exports)
    told = "$AIRFLOW_HOME|$AIRFLOW__CORE__DAGS_FOLDER|$AIRFLOW__API__BASE_URL|$AWS_ENDPOINT_URL|$QUOTED|$PATH"
    ran = subprocess.run(
        ["/bin/sh", "-ec", f'. ./exports.sh; printf %s "{told}"'],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    home, folder, base_url, endpoint, quoted, path = ran.stdout.split("|")
    assert (home, folder) == (str(tmp_path / "airflow"), str(tmp_path))
    assert (base_url, endpoint) == ("http://127.0.0.1:8080", "http://127.0.0.1:4599")
    assert (quoted, path) == ("it's $HOME", f"{BIN}:/usr/bin:/bin")


def test_its_options_reach_both_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the DAGs Airflow, the quotas and the port Local Bedrock, whose own command reads them."""
    started: list[list[str]] = []
    exported: dict[str, str] = {}

    @contextmanager
    def process(command: list[str], environment: Any, log: Path) -> Iterator[Any]:
        started.append(command)
        exported.update(environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("Local Bedrock listens on a port\n")
        yield SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(stack, "process", process)
    monkeypatch.setattr(stack, "wait_for", lambda url, child, log: None)
    monkeypatch.setattr(Airflow, "connected", lambda self, child, log: nullcontext())
    monkeypatch.setattr(ui, "postgres", lambda folder: nullcontext("postgresql://there"))
    port, bedrock_port = stack.free_port(), stack.free_port()
    given = {"--port": port, "--bedrock-port": bedrock_port, "--dags": tmp_path / "mine", "--home": tmp_path / "home"}
    (tmp_path / "mine").mkdir()
    words = [str(word) for option in given.items() for word in option]
    monkeypatch.setattr(
        "sys.argv", ["ui", *words, "--quota", "training_jobs=1", "--quota", "custom_models=2", "--job-seconds", "7"]
    )
    assert ui.main() == 0
    bedrock, airflow = started
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    read = parser.parse_args(bedrock[2:])
    assert (read.port, read.job_seconds, read.state) == (bedrock_port, 7, tmp_path / "home" / "state")
    assert dict(read.quota) == {"training_jobs": 1, "custom_models": 2}
    assert airflow == [str(BIN / "airflow"), "standalone"]
    assert exported["AIRFLOW__CORE__DAGS_FOLDER"] == str(tmp_path / "mine")
    assert exported["AIRFLOW__API__PORT"] == str(port)
    assert exported["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql://there"


def test_local_bedrock_starts_in_a_checkout_whose_path_has_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is one word of the command."""
    program = tmp_path / "my checkout" / "airflow-bedrock"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "started with $@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(stack, "BIN", program.parent)
    monkeypatch.delenv("AIRFLOW_BEDROCK_LOCAL", raising=False)
    port = stack.free_port()  # a Local Bedrock at its usual port would answer instead
    with pytest.raises(StartError, match=f"started with local --port {port}"), stack.local_bedrock(tmp_path, port=port):
        pass


def test_without_postgresql_it_says_so_and_uses_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Airflow then finds no other database in the environment."""

    def none(_: Path) -> Any:
        raise StartError("no PostgreSQL here")

    monkeypatch.setattr(ui, "postgres", none)
    with ui._database(tmp_path) as environment:
        assert environment == {}
    assert "Using SQLite, which a backfill beside it can lock: no PostgreSQL here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        (ui, ["--dags", "nowhere"], "argument --dags: there is no folder nowhere"),
        (ui, ["--port", "99999"], "port must be 0-65535"),
        (demo, ["--conf", "{"], "argument --conf: must be a JSON object"),
        (demo, ["--conf", "5"], "argument --conf: must be a JSON object"),
        (demo, ["--home", "/dev/null/demo"], "/dev/null/demo"),
    ],
)
def test_a_wrong_option_is_answered_in_a_sentence(
    program: Any, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started."""
    monkeypatch.setattr("sys.argv", ["make", *words])
    try:
        code = program.main()
    except SystemExit as ended:
        code = ended.code
    assert code in (1, 2)
    assert said in "".join(capsys.readouterr())


def test_what_airflow_refuses_is_reported_in_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as a value that the form of the DAG does not take."""
    refused = httpx.Response(400, text="5000 is greater than 30", request=httpx.Request("POST", "http://airflow/runs"))
    assert stack.exit_code(lambda: int(refused.raise_for_status().text)) == 1
    assert capsys.readouterr().out == "/runs returned HTTP 400: 5000 is greater than 30\n"


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow takes no other path to a database of SQLite."""
    homes: list[Path] = []

    def start(home: Path, *_: str) -> Any:
        homes.append(home)
        raise StartError("That is enough.")

    monkeypatch.setattr(demo, "local_bedrock", start)
    monkeypatch.setattr("sys.argv", ["demo", "--home", "mine"])
    monkeypatch.chdir(tmp_path)
    assert demo.main() == 1
    assert homes == [tmp_path / "mine"]
