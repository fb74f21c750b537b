"""``make live ARGS=ui``: what a person does in Airflow's UI, done by headless Chromium on an Airflow that runs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from airflow_bedrock.local import LocalBedrock
from scripts.airflow_api import Run
from scripts.live import page
from scripts.live.browser import signed_in
from scripts.live.cluster import Cluster
from scripts.live.scenario import AS_IT_SHOULD
from scripts.live.stage import WrongError, check, jobs
from scripts.postgres import postgres
from scripts.until import until

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Page

DAG, WAITS, WAITING = "finetune_support_router", "wait_for_model", ("deferred", "running")
ADMIN, ANN, STRANGER = "admin", "ann", "eve"
CHANGED = {"services": ("Data", 4), "epochs": ("Hyperparameters", 1), "test_records": ("Evaluation", 20)}
SECONDS = 1800.0
JOB_SECONDS = 60.0  # long enough for a person to mark a run failed meanwhile


class Person:
    """Somebody at Airflow's pages.

    :param page: of a browser in which they have signed in.
    """

    def __init__(self, page: Page, cluster: Cluster, local: LocalBedrock) -> None:
        self.page, self.local = page, local
        self.airflow = cluster.airflow

    def trigger(self) -> Run:
        """Start a run from the form, with changed values."""
        self.page.goto(f"{self.airflow.url}/dags/{DAG}")
        self.page.get_by_role("button", name="Trigger Dag").click()
        for name, (section, value) in CHANGED.items():
            box = self.page.locator(f"input[name=element_{name}]")
            if not box.is_visible():
                self.page.get_by_role("button", name=section, exact=True).click()
            box.fill(str(value))
            box.press("Tab")
        self.page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
        self.page.wait_for_url("**/runs/manual__*")
        run_id = unquote(self.page.url.rpartition("/runs/")[2].partition("?")[0])
        return Run(self.airflow.api, DAG, run_id)

    def view(self, path: str) -> FrameLocator:
        """Open a view of the package below Airflow's page; return its frame."""
        self.page.goto(f"{self.airflow.url}/{path}")
        return self.page.frame_locator("iframe")

    def shows(self, path: str, *texts: str) -> None:
        """Wait until a view shows all texts.

        :raises WrongError: it does not.
        """
        body = self.view(path).locator("body")
        body.locator("main").wait_for()
        shown = " ".join(body.inner_text().split())
        if missing := [text for text in texts if not re.search(text, shown)]:
            raise WrongError(f"{path} does not show {missing}: {shown[:300]}")

    def mark_failed(self, run: Run) -> None:
        """Mark a run failed by the keyboard, and confirm."""
        self.page.goto(f"{self.airflow.url}/dags/{DAG}/runs/{quote(run.run_id)}")
        self.page.get_by_role("button", name="Mark Dag Run as").wait_for()
        self.page.keyboard.press("Shift+F")
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()

    def jobs(self) -> list[str]:
        """Return the statuses of the account's jobs."""
        with closing(self.local.client("bedrock")) as bedrock:
            return [job["status"] for job in jobs(bedrock)]


def starts_and_reads(ann: Person) -> None:
    """Start a run from the form with changed values, watch it end, read curve, table and models."""
    run = ann.trigger()
    described = run.described()
    wrong = {name: value for name, (_, value) in CHANGED.items() if described["conf"].get(name) != value}
    check(not wrong, f"the run has other values than the form: {described['conf']}")
    check(described["triggering_user_name"] == ANN, "ann has started the run")
    until(run.has_ended, "the run ends", SECONDS)
    check(run.state == "success", "the run succeeds")
    task = f"dags/{DAG}/runs/{quote(run.run_id)}/tasks/{WAITS}/plugin/bedrock-task-instance"
    ann.shows(task, "Completed", "Phases", "Training loss", "epochCount 1", "Job on Local Bedrock")
    check(ann.page.frame_locator("iframe").locator("svg.chart polyline").count(), "the loss has a curve")
    ann.shows(f"dags/{DAG}/plugin/bedrock-dag", re.escape(run.run_id), "epochCount 1", r"\d\.\d{4} against \d\.\d{4}")
    ann.shows("plugin/bedrock-nav", "Models in service", "No task that you can see waits for a job", "Spend of")


def marks_failed(ann: Person) -> None:
    """Start a run from the form, mark it failed while its job runs, and see the job stopped."""
    before = len(ann.jobs())
    CHANGED["services"] = ("Data", 5)  # other data: another job
    run = ann.trigger()
    until(lambda: len(ann.jobs()) > before and run.task_states()[WAITS] in WAITING, "the sensor waits", SECONDS)
    ann.shows("plugin/bedrock-nav", "InProgress", re.escape(run.run_id))
    ann.mark_failed(run)
    until(lambda: "InProgress" not in ann.jobs() and "Stopping" not in ann.jobs(), "the job is stopped", SECONDS)
    check(sorted(ann.jobs()) == [*["Completed"] * before, "Stopped"], f"one job is stopped: {ann.jobs()}")


def is_refused(eve: Person) -> None:
    """A person without a role sees no view, nor does anybody who has not signed in."""
    pages = ("bedrock/models", f"bedrock/jobs?dag_id={DAG}", "bedrock/jobs?dag_id=~")
    for path in pages:
        told = eve.page.goto(f"{eve.airflow.url}/{path}")
        if told is None or told.status != 403 or "does not let you see" not in told.text():
            raise WrongError(f"{path} answered a stranger {told and told.status}")
    eve.page.context.clear_cookies()
    for path in pages:
        told = eve.page.goto(f"{eve.airflow.url}/{path}")
        if told is None or told.status != 401:
            raise WrongError(f"{path} answered somebody who has not signed in {told and told.status}")


PLAYS: tuple[tuple[str, str, Callable[[Person], None]], ...] = (
    (
        ANN,
        "ann signs in, starts a run from the form with changed values, watches it end, and reads the loss curve, the "
        "table of jobs and the models",
        starts_and_reads,
    ),
    (ANN, "she starts another, sees it among what runs now, and marks it failed: its job is stopped", marks_failed),
    (STRANGER, "eve, who has no role, opens the views: refused; so is a caller who has not signed in", is_refused),
)


@contextmanager
def airflow(home: Path) -> Iterator[tuple[Cluster, LocalBedrock]]:
    """Run Local Bedrock and an Airflow with the example DAG and its people."""
    people = (ADMIN, ANN, STRANGER)
    with postgres() as database, LocalBedrock(job_seconds=JOB_SECONDS, deployment_seconds=1) as local:
        roles = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin,{ANN}:op,{STRANGER}:"}
        dags = Path(__file__).parent / "ui_dags"
        cluster = Cluster(home, database, dags=dags, more={**local.environment(), **roles}, people=people)
        with cluster.running([DAG]):
            yield cluster, local


def play(home: Path) -> Iterator[str]:
    """Play what people do; yield a row of the table for each."""
    with airflow(home) as (cluster, local):
        for name, told, of in PLAYS:
            began, verdict = time.monotonic(), AS_IT_SHOULD
            with signed_in(cluster.airflow.url, name) as browser:
                person = Person(browser, cluster, local)
                try:
                    of(person)
                except WrongError as error:
                    verdict = f"WRONG: {error}"
            yield page.signed(told, verdict, f"{time.monotonic() - began:.0f}")


if __name__ == "__main__":
    sys.exit(page.program(page.UI, "ui", __doc__, play))
