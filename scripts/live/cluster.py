"""An Airflow of processes on PostgreSQL: its components can be killed and started one by one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scripts.stack import BIN, PROJECT, Airflow, process, wait_for

DAGS = Path(__file__).parent / "dags"
SECONDS = 60.0  # for which Airflow may not respond, on a busy machine
COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


class Cluster:
    """The processes of one Airflow, each with its log in the home; a LocalExecutor runs the tasks.

    :param home: the Airflow home.
    :param database: SQLAlchemy's URL.
    :param dags: the folder with the DAG files.
    :param more: of the processes' environment.
    :param settings: what the processes import: lines of Python.
    :param people: the ids of its users, the first one for this program; without any, everybody is allowed everything.
    """

    def __init__(
        self,
        home: Path,
        database: str,
        *,
        dags: Path = DAGS,
        more: Mapping[str, str] | None = None,
        settings: str = "",
        people: Sequence[str] = (),
    ) -> None:
        environment = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__BEDROCK__POLL_INTERVAL": "1",
            # Of one scenario; the others have none, and nothing is asked of a ledger.
            "AIRFLOW__BEDROCK__DAG_BUDGETS": '{"a_year_under_a_budget": 8}',
            "AIRFLOW__BEDROCK__LEDGER_URI": "s3://a-year-under-a-budget/spend",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": str(PROJECT),
            **(more or {}),
        }
        self.airflow = Airflow(home, environment, dags=dags, people=people, settings=settings)
        self.components: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()

    @contextmanager
    def running(self, dags: Collection[str], *, without: Collection[str] = ()) -> Iterator[None]:
        """Run one process of each component until the block ends.

        :param dags: the ids of those to wait for, until they can be run.
        :param without: components that are not started.
        :raises StartError: a component did not start.
        """
        self.airflow.migrate()
        with self._stack:
            self.start("api-server")  # alone, since each component first imports Airflow
            log = self.airflow.home / "api-server.log"
            self._stack.enter_context(self.airflow.connected(self.components["api-server"], log))
            wait_for(
                f"{self.airflow.url}/execution/health", self.components["api-server"], log
            )  # it is made when asked
            for name in COMPONENTS.keys() - self.components.keys() - set(without):
                self.start(name)
            self.airflow.api.retry_seconds = SECONDS
            self.airflow.api.until_read(*dags)
            yield

    def start(self, name: str, component: str | None = None, **environment: str) -> None:
        """Start a process of a component, by a name of its own where there are several."""
        command = [str(BIN / "airflow"), *COMPONENTS[component or name]]
        given, log = self.airflow.environment | environment, self.airflow.home / f"{name}.log"
        self.components[name] = self._stack.enter_context(process(command, given, log))

    def kill(self, name: str) -> None:
        """Kill a component at once, with its process group."""
        os.killpg(self.components.pop(name).pid, signal.SIGKILL)
