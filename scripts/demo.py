"""The example DAG from raw data to an evaluated, deployed custom model: a real Airflow against Local Bedrock."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from scripts.airflow_api import ENDED, Run
from scripts.stack import PROJECT, SHORT_DEFERRALS, Airflow, exit_code, local_bedrock

DAG_ID = "finetune_support_router"
POLL_SECONDS = 1.0
console = Console(highlight=False, soft_wrap=True)


class Progress:
    """Prints each change in one line: the state of a task, the phase and the loss of the job."""

    def __init__(self, run: Run, bedrock: str) -> None:
        self._run, self._bedrock = run, bedrock
        self._states: dict[str, str | None] = {}
        self._job_lines: dict[str, str] = {}
        self._started = time.monotonic()

    def follow(self) -> str:
        """Report until the DAG run has ended; return its state."""
        with console.status("running the DAG"):
            while True:
                state = self._run.state
                self._tasks()
                self._jobs()
                if state in ENDED:
                    return state
                time.sleep(POLL_SECONDS)

    def _tasks(self) -> None:
        for instance in self._run.instances():
            task, state = instance["task_id"], instance["state"]
            if state not in (None, "scheduled", "queued", self._states.get(task)):
                self._states[task] = state
                self._say(f"{task:<20} {state}")

    def _jobs(self) -> None:
        for job in httpx.get(f"{self._bedrock}/_local/jobs").raise_for_status().json():
            if job["status"] == "InProgress":
                loss = job["trainingLoss"]
                so_far = "" if loss is None else f", step {job['step']} of {job['steps']}, loss {loss:.3f}"
                line = f"{'':<20} job {job['name']}: {job['phase']}{so_far}"
                if line != self._job_lines.get(job["name"]):
                    self._job_lines[job["name"]] = line
                    self._say(line)

    def _say(self, line: str) -> None:
        console.print(f"[dim]{time.monotonic() - self._started:5.0f} s[/dim]  {line}")


def report(run: Run, home: Path, started: float) -> None:
    """Print the result of the run."""
    data, model, result = (run.returned(task) for task in ("prepare_data", "wait_for_model", "evaluate"))
    rows = [
        ("records", ", ".join(f"{data['counts'][split]} {split}" for split in ("train", "validation", "test"))),
        ("job", model["job_arn"]),
        ("", _age(model["created"], started)),
        ("custom model", model["custom_model_arn"]),
    ]
    for epoch in model["losses_by_epoch"]:
        losses = f"training {epoch['training_loss']:.4f}, validation {epoch['validation_loss']:.4f}"
        rows.append((f"loss, epoch {epoch['epoch']}", losses))
    for name, side in (("base model", result["baseline"]), ("custom model", result["candidate"])):
        rows.append((f"accuracy, {name}", f"{side['accuracy']:.1%} of {side['n']} held-out records"))
    rows.append(("verdict", f"{result['verdict']} (p = {result['p_value']:.2g})"))
    buckets = home / "state" / "s3"
    for name, uri in (
        ("training data", data["training_data_uri"]),
        ("metrics", model["artifacts_uri"]),
        ("evaluation", result["report_uri"]),
    ):
        rows += [(name, uri), ("", f"on this disk: {_shown(buckets / uri.removeprefix('s3://'))}")]
    console.print("\n[bold]Result[/bold]")
    for name, value in rows:
        if value:  # not in a table with borders: an ARN that is broken into two lines cannot be copied
            console.print(f"  [bold]{name:<22}[/bold]  {value}")


def _age(created: str, started: float) -> str:
    made = datetime.fromisoformat(created).timestamp()
    return "" if made > started else "reused from an earlier run: same data, same parameters, nothing to pay"


def _shown(path: Path) -> str:
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _only_dag(home: Path) -> Path:
    """Return a folder with only the DAG: Airflow reads each file of a folder before it runs the first task."""
    folder = home / "dags"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "dags" / f"{DAG_ID}.py", folder)
    return folder


def run_demo(arguments: argparse.Namespace) -> int:
    """Start both servers, run the DAG once, report."""
    home: Path = arguments.home.resolve()  # Airflow takes no relative path to SQLite
    started = time.time()
    with local_bedrock(home, "--job-seconds", str(arguments.job_seconds)) as (bedrock, environment):
        airflow = Airflow(home / "airflow", environment | SHORT_DEFERRALS, dags=_only_dag(home))
        console.print(
            f"Airflow will run the DAG {DAG_ID} against Local Bedrock: prepare data, fine-tune a small\nmodel, "
            f"deploy it, evaluate it. No AWS account, nothing to pay; everything is kept in {_shown(home)}.\n"
        )
        console.print(f"Local Bedrock   {bedrock}")
        if airflow.has_database:
            console.print(f"Airflow         reusing {_shown(airflow.home)}")
        else:
            console.print(f"Airflow         making its database in {_shown(airflow.home)}")
        with airflow.standalone():
            console.print(f"                {airflow.url}")
            airflow.api.until_read(DAG_ID)
            airflow.api.unpause(DAG_ID)
            run = airflow.api.start(DAG_ID, arguments.conf)
            state = Progress(run, bedrock).follow()
            if state == "success":
                report(run, home, started)
                return 0
    console.print(f"The DAG run ended as {state}. Task logs: {_shown(airflow.home / 'logs')}")
    return 1


def _conf(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, such as '{{\"services\": 5}}'; got {text!r}")
    return found


def main() -> int:
    """Read the arguments, and run the demo."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--home", type=Path, default=PROJECT / ".demo", help="where everything is kept")
    parser.add_argument("--job-seconds", type=float, default=10, help="how long the customization job takes")
    parser.add_argument("--conf", type=_conf, default={}, help="parameters of the DAG, as JSON: '{\"services\": 5}'")
    return exit_code(partial(run_demo, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
