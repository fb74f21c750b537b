"""docs/backfill.md, word by word: its DAG and its commands, in a real Airflow against Local Bedrock.

Beside it, where Airflow has partitions, the same DAG by partitions: there the same again makes new runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import airflow.sdk
import pytest

from airflow_bedrock.local import LocalBedrock
from scripts.stack import SHORT_DEFERRALS, Airflow
from scripts.training_data import record
from scripts.until import until
from tests.live.postgres import postgres

pytestmark = pytest.mark.live

PAGE = (Path(__file__).parents[2] / "docs" / "backfill.md").read_text()
[DAG] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
[COMMANDS] = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
DRY_RUN, UNPAUSE, CREATE = (shlex.split(line)[1:] for line in COMMANDS.splitlines())
END = "end_date=pendulum.datetime(2026, 3, 1)"
MONTHS = ("2026-01-01", "2026-02-01", "2026-03-01")
PARTITIONED = (
    DAG.replace('"retrain"', '"by_partition"')
    .replace('"@monthly"', 'CronPartitionTimetable("0 0 1 * *", timezone="UTC", key_format="%Y-%m-%d")')
    .replace("{{ ds }}", "{{ dag_run.partition_key }}")
    .replace("from airflow.sdk import DAG", "from airflow.sdk import DAG, CronPartitionTimetable")
)
BY_PARTITION = 2 if hasattr(airflow.sdk, "CronPartitionTimetable") else 0
"""So many of the months."""
BACKFILLED = ("retrain", "by_partition") if BY_PARTITION else ("retrain",)


class Backfills:
    """A running Airflow with the page's DAG, and the three months' data."""

    def __init__(self, airflow: Airflow, local: LocalBedrock) -> None:
        self.airflow, self.local = airflow, local

    def write(self, month: str, answer: str) -> None:
        client = self.local.client("s3")
        client.put_object(Bucket=self.local.bucket, Key=f"{month}/train.jsonl", Body=record(answer=answer) * 20)
        client.close()

    def backfill(self, *more: str) -> int:
        """Backfill until all of its runs have succeeded; return how many jobs were made."""
        before = len(self.local.calls.of("CreateModelCustomizationJob"))
        if BY_PARTITION:
            asked = {"dag_id": "by_partition", "from_date": f"{MONTHS[0]}T00:00:00Z", "max_active_runs": 2}
            asked |= {"to_date": f"{MONTHS[BY_PARTITION - 1]}T00:00:00Z", "reprocess_behavior": (more or ("none",))[-1]}
            self.airflow.api("POST", "/backfills", json=asked)
        self.airflow.run(*CREATE, *more)
        until(self._is_done, "the backfill's runs have succeeded", logs=self.airflow.home)
        return len(self.local.calls.of("CreateModelCustomizationJob")) - before

    def _is_done(self) -> bool:
        return all(self._has_ended(dag) for dag in BACKFILLED)

    def _has_ended(self, dag: str) -> bool:
        runs = self.airflow.api.runs(dag, run_type="backfill")
        assert "failed" not in {run["state"] for run in runs}
        return self.airflow.api.has_no_backfill(dag) and {run["state"] for run in runs} == {"success"}


@pytest.fixture(scope="module")
def backfills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfills]:
    home, dags = tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("dags")
    # Unpausing starts the latest scheduled run too, as the page says; the end date is its advice.
    for name, text in zip(BACKFILLED, (DAG, PARTITIONED), strict=False):
        (dags / f"{name}.py").write_text(text.replace("max_active_runs=2", f"max_active_runs=2, {END}"))
    with LocalBedrock(job_seconds=2) as local, postgres() as database:
        environment = {**local.environment(), **SHORT_DEFERRALS, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
        airflow = Airflow(home, environment, dags=dags)
        with airflow.standalone():
            airflow.api.until_read(*BACKFILLED)
            yield Backfills(airflow, local)


def test_a_backfill_makes_one_job_for_each_period_and_pays_again_only_for_what_has_changed(
    backfills: Backfills,
) -> None:
    """Three months, three jobs; the same again, none; one month's data replaced, one."""
    for month in MONTHS:
        backfills.write(month, month)
    printed = backfills.airflow.run(*DRY_RUN)
    assert all(month in printed for month in MONTHS)
    assert not backfills.airflow.api.runs("retrain")
    backfills.airflow.run(*UNPAUSE)
    if BY_PARTITION:
        backfills.airflow.api.unpause("by_partition")
    assert backfills.backfill() == 3 + BY_PARTITION
    assert backfills.backfill("--reprocess-behavior", "completed") == 0
    backfills.write(MONTHS[1], "other")
    assert backfills.backfill("--reprocess-behavior", "completed") == (2 if BY_PARTITION else 1)
