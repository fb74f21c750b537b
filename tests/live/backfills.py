"""The DAG and the commands of docs/backfill.md, word by word, and three months' data.

Beside it, where Airflow has partitions, the same DAG by partitions: there the same again makes new runs.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import airflow.sdk

from airflow_bedrock.local import LocalBedrock
from scripts.stack import Airflow
from scripts.training_data import record
from scripts.until import until

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
JOB_SECONDS = 600.0
BACKFILLED = ("retrain", "by_partition") if BY_PARTITION else ("retrain",)


def write_dags(folder: Path) -> None:
    """Write the page's DAGs. Unpausing starts the latest scheduled run too, as the page says: hence its end date."""
    for name, text in zip(BACKFILLED, (DAG, PARTITIONED), strict=False):
        (folder / f"{name}.py").write_text(text.replace("max_active_runs=2", f"max_active_runs=2, {END}"))


class Backfills:
    """A running Airflow with the page's DAGs, and an account whose clock stands: time passes while a backfill runs."""

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
        self.local.clock.advance(JOB_SECONDS / 4)
        return all(self._has_ended(dag) for dag in BACKFILLED)

    def _has_ended(self, dag: str) -> bool:
        runs = self.airflow.api.runs(dag, run_type="backfill")
        assert "failed" not in {run["state"] for run in runs}
        return self.airflow.api.has_no_backfill(dag) and {run["state"] for run in runs} == {"success"}
