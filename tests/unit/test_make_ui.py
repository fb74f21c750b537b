"""What `make ui` does beside starting programs: another port where one is taken, the exports for a second shell."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from scripts import ui
from scripts.stack import BIN, Airflow


def test_a_port_that_is_taken_is_replaced_by_a_free_one(capsys: pytest.CaptureFixture[str]) -> None:
    """And nobody is sent to whatever listens there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert ui._free(taken) != taken
    assert f"Port {taken} is taken" in capsys.readouterr().out
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
