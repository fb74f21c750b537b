"""``make live ARGS=year``: twelve periods of retraining in a few minutes, with a person who approves, and the bill.

Local Bedrock's clock runs so fast that a year passes; the retraining DAG runs a period each month of it, so to say.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow_bedrock.operators.pricing import check_data, estimated
from airflow_bedrock.storage import Storage
from scripts.live import page
from scripts.live.cluster import until
from scripts.live.retraining import CONF, CREATE, DAG, SECONDS, Retraining, program
from scripts.live.scenario import AS_IT_SHOULD
from scripts.stack import StartError

FIRST, LAST, AGAIN = 2011, 2022, 2
YEAR = timedelta(days=365)
EXPECTED = timedelta(minutes=8)
"""In which the year passes on Local Bedrock's clock, which begins a year ago."""


def play(retraining: Retraining) -> Iterator[str]:
    """Train the periods, and the latest ones again; yield the row of the table."""
    began = time.monotonic()
    conf = {**CONF, "services_a_year": 3, "test_records": 60, "approver": "ann", "training_set": "the last 3"}
    retraining.backfill("--max-active-runs", "2", conf=conf, first=FIRST, last=LAST)
    approve(retraining, LAST - FIRST + 1)
    paid = len(made(retraining))
    retraining.backfill("--reprocess-behavior", "completed", conf=conf, first=LAST - AGAIN + 1, last=LAST)
    approve(retraining, LAST - FIRST + 1 + AGAIN)
    jobs = made(retraining)
    reused, cost = len(retraining.runs()) - len(jobs), sum((costs(retraining, job) for job in jobs), Decimal(0))
    register = retraining.register()
    served = [one for one in (register.champion, *register.previous) if one]
    by = sorted({str(one.approved_by) for one in served})
    found = retraining.deployments()
    left = retraining.jobs()["InProgress"] + len(found) - int("support-router" in found)
    right = paid == len(jobs) and by == ["ann"] and not left and not retraining.states()["failed"]
    periods = ", ".join(str(one.period) for one in reversed(served))
    cells = (
        str(len(retraining.runs())),
        str(len(jobs)),
        str(reused),
        f"{len(served)}: those of {periods}",
        ", ".join(by),
        f"{cost:.2f} USD",
        str(left),
        AS_IT_SHOULD if right else "WRONG",
        f"{time.monotonic() - began:.0f}",
        f"{page.commit()}, {datetime.now(UTC):%Y-%m-%d}",
    )
    yield f"| {' | '.join(cells)} |"


def approve(retraining: Retraining, runs: int) -> None:
    """Approve as ann whatever is asked, until so many runs have ended."""

    def ended() -> bool:
        asked = {"response_received": False, "limit": 100}
        for one in retraining.read(f"/dags/{DAG}/dagRuns/~/hitlDetails", asked)["hitl_details"]:
            retraining.answer("ann", DAG, one["task_instance"]["dag_run_id"], one["task_instance"]["task_id"])
        return len(retraining.runs()) >= runs and retraining.idle()

    until(ended, f"{runs} runs have ended", SECONDS)


def made(retraining: Retraining) -> list[dict[str, Any]]:
    """Return the requests that the account has accepted, and would bill."""
    return [call.parameters for call in retraining.local.calls.of(CREATE) if call.status == 201]


def costs(retraining: Retraining, request: dict[str, Any]) -> Decimal:
    """Return the most that a job would cost on AWS, in US dollars."""
    with closing(retraining.local.client("s3")) as s3:
        report = check_data(request, Storage(lambda: s3))
    cost = estimated(request, report, "us-east-1", None).cost
    if cost is None:
        raise StartError(f"The price of {request['baseModelIdentifier']} is unknown.")
    return cost[1]


def main() -> int:
    """Play it; return 0 where nothing was wrong."""
    settings = {
        "speed": YEAR / EXPECTED,
        "start": datetime.now(UTC) - YEAR,
        "job_seconds": 2 * 60 * 60,
        "deployment_seconds": 5 * 60,
    }
    return program("year", str(__doc__), page.A_YEAR, play, page.write_year, **settings)


if __name__ == "__main__":
    sys.exit(main())
