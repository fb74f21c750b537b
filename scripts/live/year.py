"""``make live ARGS=year``: twelve periods of retraining in a few minutes, with a person who approves, and the bill.

Local Bedrock's clock runs so fast that a year passes; the retraining DAG runs a period for each month of it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from airflow_bedrock.spend.pricing import check_data, estimated
from airflow_bedrock.storage import Storage
from scripts.live import page
from scripts.live.retraining import CONF, CREATE, DAG, LINE, SECONDS, Retraining, airflow, problems
from scripts.live.scenario import AS_IT_SHOULD
from scripts.stack import StartError
from scripts.tables import line
from scripts.until import until

FIRST, LAST, AGAIN = 2011, 2022, 2
READS = 15.0  # seconds, before ann answers
YEAR = timedelta(days=365)
EXPECTED = timedelta(minutes=8)
"""In which the year passes on Local Bedrock's clock, which begins a year ago."""


def play(home: Path) -> Iterator[str]:
    """Play a year on Local Bedrock's clock, which begins a year ago."""
    settings = {
        "speed": YEAR / EXPECTED,
        "start": datetime.now(UTC) - YEAR,
        "job_seconds": 2 * 60 * 60,
        "deployment_seconds": 5 * 60,
    }
    with airflow(home, **settings) as retraining:
        yield from trained(retraining)


def trained(retraining: Retraining) -> Iterator[str]:
    """Train the periods, and the latest ones again; yield a row of the table for each, and one for all."""
    began = time.monotonic()
    conf = {**CONF, "services_a_year": 3, "test_records": 60, "approver": "ann", "training_set": "the last 3"}
    retraining.backfill("--max-active-runs", "3", conf=conf, first=FIRST, last=LAST)
    approve(retraining, LAST - FIRST + 1)
    paid = len(made(retraining))
    retraining.backfill("--reprocess-behavior", "completed", conf=conf, first=LAST - AGAIN + 1, last=LAST)
    approve(retraining, LAST - FIRST + 1 + AGAIN)
    runs = Counter(run["partition_key"] for run in retraining.api.runs(DAG))
    jobs = Counter(period_of(job) for job in made(retraining))
    cost = defaultdict(Decimal, {period: Decimal(0) for period in runs})
    for job in made(retraining):
        cost[period_of(job)] += costs(retraining, job)
    register = retraining.register()
    served = {str(one.period): one for one in (register.champion, *register.previous) if one}
    for period in sorted(runs):
        promoted = served.get(period)
        yield line(
            period,
            runs[period],
            jobs[period],
            runs[period] - jobs[period],
            "yes" if promoted else "no",
            promoted.approved_by if promoted else "",
            f"{cost[period]:.4f} USD",
            *[""] * 4,  # of all periods together
        )
    by = {str(one.approved_by) for one in served.values()}
    left = retraining.jobs()["InProgress"] + len(retraining.deployments().keys() - {LINE})
    wrong = problems(retraining)
    wrong += [] if jobs.total() == paid == LAST - FIRST + 1 else [f"{paid} jobs, then {jobs.total()}"]
    wrong += (
        [] if list(served) == sorted(served, reverse=True) and by == {"ann"} else [f"{list(served)} served, by {by}"]
    )
    yield page.signed(
        f"{len(runs)} periods",
        runs.total(),
        jobs.total(),
        runs.total() - jobs.total(),
        f"{len(served)}; {register.champion and register.champion.period} serves",
        ", ".join(sorted(by)),
        f"{sum(cost.values()):.4f} USD",
        left,
        f"WRONG: {', '.join(wrong)}" if wrong or left else AS_IT_SHOULD,
        f"{time.monotonic() - began:.0f}",
    )


def period_of(request: dict[str, Any]) -> str:
    """Return the period of a job, from the name of its output folder."""
    uri: str = request["outputDataConfig"]["s3Uri"]
    return uri.rstrip("/").rpartition("/")[2]


def approve(retraining: Retraining, runs: int) -> None:
    """Approve as ann whatever is asked, as late as a person at the earliest, until so many runs have ended."""
    since: dict[str, float] = {}

    def ended() -> bool:
        path = f"/dags/{DAG}/dagRuns/~/hitlDetails"
        for one in retraining.api.listed(path, "hitl_details", response_received=False):
            instance = one["task_instance"]
            # The scheduler may take a task for failed that is answered before it learns that the try has ended.
            if time.monotonic() - since.setdefault(instance["id"], time.monotonic()) >= READS:
                retraining.approve("ann", instance["dag_run_id"], instance["task_id"])
        return retraining.ended(runs)

    until(ended, f"{runs} runs have ended", SECONDS)


def made(retraining: Retraining) -> list[dict[str, Any]]:
    """Return the requests that the account has accepted, and would bill."""
    return [call.parameters for call in retraining.local.calls.of(CREATE) if call.status == 201]


def costs(retraining: Retraining, request: dict[str, Any]) -> Decimal:
    """Return the maximum cost of a job on AWS, in US dollars."""
    with closing(retraining.local.client("s3")) as s3:
        report = check_data(request, Storage(lambda: s3))
    cost = estimated(request, report, "us-east-1").cost
    if cost is None:
        raise StartError(f"The price of {request['baseModelIdentifier']} is unknown.")
    return cost[1]


if __name__ == "__main__":
    sys.exit(page.program(page.YEAR, "year", __doc__, play))
