"""``make demo`` (docs/laptop.md): a real scheduler, triggerer and API server; what it prints and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.until import SECONDS, until
from tests.live.leftovers import left_behind

pytestmark = pytest.mark.live

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all demos: each makes its database only if it does not exist."""
    return tmp_path_factory.mktemp("demo")


def demo(home: Path) -> subprocess.Popen[str]:
    conf = json.dumps({"services": 3, "test_records": 30})
    command = [sys.executable, "-u", "-m", "scripts.demo", "--home", str(home), "--job-seconds", "20", "--conf", conf]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_"))}
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_demo_shows_its_progress_and_its_result_and_reuses_the_model_the_second_time(home: Path) -> None:
    """The first run trains, the second finds the same data and parameters; neither leaves a process."""
    with demo(home) as first:
        said, _ = first.communicate(timeout=SECONDS)
    assert first.returncode == 0, said
    for words in (
        "wait_for_model       deferred",
        ": training, step ",
        "loss, epoch 2",
        "verdict                 better",
    ):
        assert words in said
    assert left_behind(home) == []
    with demo(home) as second:
        again, _ = second.communicate(timeout=SECONDS)
    assert second.returncode == 0, again
    assert "reused from an earlier run" in again
    assert f"reusing {home / 'airflow'}" in again
    arns = [[line for line in text.splitlines() if line.lstrip().startswith("job  ")] for text in (said, again)]
    assert arns[0] == arns[1] != []


def test_an_interrupted_demo_leaves_no_process(home: Path) -> None:
    """Ctrl-C in the middle of a run ends Airflow with all of its children, and Local Bedrock."""
    with demo(home) as interrupted:
        assert interrupted.stdout is not None
        for line in interrupted.stdout:
            if "collect_requests" in line:
                break
        else:
            pytest.fail("the demo ended before it ran a task")
        assert len(left_behind(home)) > 3
        interrupted.send_signal(signal.SIGINT)
        said, _ = interrupted.communicate(timeout=SECONDS)
    assert "nothing was left running" in said
    until(lambda: not left_behind(home), "no process is left")
