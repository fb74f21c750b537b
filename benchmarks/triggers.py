"""What it costs a triggerer that N tasks wait for a job each: this package's trigger against upstream's.

Each side runs in a fresh process through Airflow's own trigger runner, against a server that counts. Once each job has
been polled five times, all jobs end, and the time until each trigger's event is taken. A figure of a process is
read at that moment too, so that the costs of waiting and of the ends are separate. A trigger that only sleeps
shows the floor: what Airflow itself keeps for each trigger, and how long a full pass of the garbage collector over that
blocks the event loop.

``python -m benchmarks triggers`` measures at all N, and gives each of 100 jobs an interval of its own;
``python -m benchmarks.triggers 1000`` at one N, ``python -m benchmarks.triggers intervals`` the intervals alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from airflow_bedrock.triggers import BedrockModelCustomizationTrigger
from benchmarks.harness import MEASURED, Figures, write_result
from tests.job_server import FakeJob, JobServer

INTERVAL = 3  # seconds
POLLS = 5
COUNTS = (1, 10, 100, 1000)
COUNT_OF_OURS_ALONE = 10_000
Arguments = Callable[[FakeJob], dict[str, Any]]


@dataclass(frozen=True)
class Side:
    """One of the triggers."""

    name: str
    classpath: str
    arguments: Arguments


def stored(job: FakeJob) -> dict[str, Any]:
    """Return what Airflow stores of a trigger that a task defers with."""
    trigger = BedrockModelCustomizationTrigger(job_identifier=job.arn, poll_interval=INTERVAL, created=job.created)
    return trigger.serialize()[1]


OURS = Side(
    "airflow-bedrock", "airflow_bedrock.triggers.customization.BedrockModelCustomizationTrigger", arguments=stored
)
UPSTREAM = Side(
    "upstream",
    "airflow.providers.amazon.aws.triggers.bedrock.BedrockCustomizeModelCompletedTrigger",
    lambda job: {"job_name": job.name, "waiter_delay": INTERVAL, "aws_conn_id": "aws_default"},
)
EACH_ITS_OWN = Side(
    "100 intervals",
    OURS.classpath,
    lambda job: OURS.arguments(job) | {"poll_interval": INTERVAL + int(job.arn[-12:]) / 100},
)
SLEEPING = Side("only sleeping", "sleeping.SleepingTrigger", lambda _: {"seconds": INTERVAL * POLLS})


class Meter(threading.Thread):
    """Watches the memory of a process."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self.most, self.threads = self.memory(), 0

    def run(self) -> None:
        while not self._ended.wait(0.1):
            self.most = max(self.most, self.memory())
            self.threads = max(self.threads, int(self._process.num_threads()))

    def end(self) -> None:
        self._ended.set()
        self.join()

    def memory(self) -> float:
        return float(self._process.memory_info().rss) / 1e6

    def cpu(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def measure(side: Side, count: int, airflow_home: str) -> Figures:
    """Run a side in a fresh process until every trigger has sent its event; return what it cost, less being better.

    Memory and threads are the most at any moment, the block is the longest of the event loop.
    """
    with JobServer() as server:
        jobs = server.add(count)
        environment = os.environ | {"AIRFLOW_HOME": airflow_home, "AIRFLOW_CONN_AWS_DEFAULT": server.connection()}
        with subprocess.Popen(
            [sys.executable, str(MEASURED / "run_triggers.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                return _measure(child, side, jobs, server)
            finally:
                child.kill()


def _measure(child: subprocess.Popen[str], side: Side, jobs: list[FakeJob], server: JobServer) -> Figures:
    assert child.stdin is not None
    assert child.stdout is not None
    _write(child, {"classpath": side.classpath, "arguments": [side.arguments(job) for job in jobs]})
    assert child.stdout.readline() == "ready\n"
    meter = Meter(child.pid)
    base, cpu_before = meter.most, meter.cpu()
    meter.start()
    _write(child, {})
    if side is SLEEPING:
        time.sleep(INTERVAL * (POLLS - 1))
    while side is not SLEEPING and not all_polled(server, len(jobs)):
        assert child.poll() is None, "the triggers ended before their jobs"
        time.sleep(0.05)
    calls, cpu_waited = len(server.calls), meter.cpu()
    time.sleep(INTERVAL / 2)  # jobs do not end exactly at a poll
    ended_at = time.time()
    server.end(jobs)
    # CPU time is read before the process is gone: its last line is its last work.
    line = child.stdout.readline()
    cpu_ended = meter.cpu()
    meter.end()
    seen = json.loads(line)
    delays = [at - ended_at for at in seen["events_at"]]
    assert len(delays) == len(jobs)
    found = {
        "memory over base, MB": meter.most - base,
        "CPU while waiting, s": cpu_waited - cpu_before,
        "API calls while waiting": calls,
        "longest block, s": seen["longest_block"],
        "CPU for the ends, s": cpu_ended - cpu_waited,
        "CPU, both, s": cpu_ended - cpu_before,
        "end to event, s (median)": median(delays),
        "end to event, s (longest)": max(delays),
        "threads": meter.threads,
    }
    return {name: round(one, 4) for name, one in found.items() if side is not SLEEPING or name in OF_SLEEPING}


def all_polled(server: JobServer, count: int) -> bool:
    """Whether each job has been polled five times, by List or by Get."""
    counts = server.counts()
    pages = -(-count // 1000)
    return counts["list"] // pages + counts["get"] // count >= POLLS


def _write(child: subprocess.Popen[str], message: object) -> None:
    assert child.stdin is not None
    child.stdin.write(json.dumps(message) + "\n")
    child.stdin.flush()


OF_SLEEPING = ("memory over base, MB", "CPU while waiting, s", "longest block, s", "threads")  # the rest says nothing


def table(results: dict[int, dict[str, Figures]]) -> str:
    """Return the figures as text: ours, upstream's, how many times ours upstream's are, and the floor."""
    lines = [f"{'N':>6}  {'':26} {OURS.name:>15} {UPSTREAM.name:>10} {'upstream / ours':>16} {SLEEPING.name:>14}"]
    for count, sides in results.items():
        for name, ours in sides[OURS.name].items():
            line = f"{count:>6}  {name:26} {ours:>15.3f}"
            if UPSTREAM.name in sides:
                theirs = sides[UPSTREAM.name][name]
                line += f" {theirs:>10.3f} {theirs / ours if ours > 0 else float('inf'):>16.1f}"
            if name in OF_SLEEPING:
                line = f"{line:78} {sides[SLEEPING.name][name]:>14.3f}"
            lines.append(line)
        lines.append("")
    return "\n".join(lines)


def main(rounds: int) -> None:
    """Measure all and report. One round: what is compared differs by orders of magnitude."""
    compare_numbers((*COUNTS, COUNT_OF_OURS_ALONE))
    compare_intervals()


def compare_numbers(counts: Sequence[int]) -> None:
    """Measure both sides at each N and report."""
    results: dict[int, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory() as airflow_home:
        for count in counts:
            sides = (OURS, SLEEPING) if count >= COUNT_OF_OURS_ALONE else (OURS, UPSTREAM, SLEEPING)
            results[count] = {side.name: measure(side, count, airflow_home) for side in sides}
    print(f"{POLLS} polls of each of N jobs, {INTERVAL} s apart; then all jobs end at once\n\n{table(results)}")
    write_result("triggers", {"polls": POLLS, "interval, s": INTERVAL, "figures": results})


def compare_intervals(count: int = 100) -> None:
    """Compare jobs that all have one interval with as many that have each its own, and with upstream's triggers."""
    with tempfile.TemporaryDirectory() as airflow_home:
        sides = {side.name: measure(side, count, airflow_home) for side in (OURS, EACH_ITS_OWN, UPSTREAM)}
    print(f"{'N':>6}  {'':26}" + "".join(f"{name:>18}{'/ ours':>8}" for name in sides))
    for name, ours in sides[OURS.name].items():
        figures = [one[name] for one in sides.values()]
        print(f"{count:>6}  {name:26}" + "".join(f"{one:>18.3f}{one / ours:>8.2f}" for one in figures))
    write_result("intervals", {"jobs": count, "polls": POLLS, "interval, s": INTERVAL, "figures": sides})


if __name__ == "__main__" and sys.argv[1:] == ["intervals"]:
    compare_intervals()
elif __name__ == "__main__":
    compare_numbers([int(count) for count in sys.argv[1:]] or (*COUNTS, COUNT_OF_OURS_ALONE))
