"""The views in Airflow's UI: who sees what, by Airflow's own rules, and what a page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

pytestmark = pytest.mark.skipif(Version(airflow_version) < Version("3.1"), reason="Airflow < 3.1 has no views")
PROJECT = Path(__file__).parents[2]
SHOWN = ("job", "running", "mapped", "jobs", "compare", "models")
Answers = dict[str, dict[str, tuple[int, str, str]]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Answers:
    """What each person was given by each view: status, page, content security policy."""
    home = tmp_path_factory.mktemp("airflow")  # its own: the others' database knows other DAGs
    shutil.copy(migrated_database, home)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": "https://proxy.example/airflow",
        "AIRFLOW__BEDROCK__LIVE_AWS_CONN_ID": "bedrock_live",  # it leads nowhere
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.integration.plugin_auth.PerDagAuthManager",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "plugin_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.plugin_server"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: Answers = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("caller", "view", "status", "shows"),
    [
        *(("anonymous", view, 401, False) for view in (*SHOWN, "every")),
        *(("nobody", view, 403, False) for view in (*SHOWN, "every")),
        *(("stranger", view, 403, False) for view in SHOWN if view != "models"),
        ("stranger", "models", 200, False),
        ("stranger", "every", 200, False),
        *((caller, view, 200, True) for caller in ("reader", "admin") for view in SHOWN),
        ("reader", "unknown", 403, False),
        ("admin", "unknown", 404, False),
    ],
)
def test_airflow_decides_who_sees_what(answers: Answers, caller: str, view: str, status: int, shows: bool) -> None:
    """By its own permissions, for each view; a page runs no script but its own."""
    got, page, policy = answers[caller][view]
    assert got == status
    assert any(name in page for name in ("retrain-job-", "retrain-line", "retrain-point-job-12")) is shows
    assert "default-src 'none'" in policy
    assert "<script>alert" not in page


def test_rows_of_dags_that_the_caller_may_not_read_are_not_there(answers: Answers) -> None:
    """Neither models nor jobs; an admin sees all."""
    assert "secret-line" not in answers["reader"]["models"][1]
    assert "secret-line" in answers["stranger"]["models"][1]
    assert "secret-job" not in answers["reader"]["every"][1]
    everything = answers["admin"]["every"][1]
    assert "secret-job" in everything
    assert "retrain-job" in everything


def test_a_job_is_shown_with_what_the_tasks_of_its_run_know(answers: Answers) -> None:
    """The operator says what was asked for, the sensor behind it what came out."""
    page = answers["reader"]["job"][1]
    assert "retrain-job-2&lt;script&gt;" in page
    assert "<polyline" in page
    assert "epochCount" in page
    assert "1 h 0 min" in page
    assert "custom-model/2" in page
    assert "1.5 USD, by 2 epochs" in page
    assert 'href="http://127.0.0.1/_local/#2"' in page
    assert 'href="http://127.0.0.1/_local/objects/2/report.html" data-outside>Evaluation report' in page
    assert "0.7500 against 0.5000: better" in page
    assert "console.aws" not in page


def test_a_running_job_is_read_live_for_readers_of_its_xcoms(answers: Answers) -> None:
    """With a connection of Airflow's own; what has ended is not asked about, and no refusal is an error page."""
    said = "Could not read this job from Amazon Bedrock (EndpointConnectionError)"
    assert {caller for caller, views in answers.items() if said in views.get("running", ("", ""))[1]} == {
        "reader",
        "admin",
    }
    assert "Could not read this job" not in answers["admin"]["job"][1]


def test_the_jobs_of_a_dag_are_rows_and_two_are_side_by_side(answers: Answers) -> None:
    """The newest first, with date, verdict and report; two that are chosen are compared."""
    rows = answers["reader"]["jobs"][1]
    assert rows.count("<tr>") == 1 + 2 * 3  # a run's own job, and two of its mapped task
    assert rows.index("retrain-job-2") < rows.index("retrain-job-1")
    assert " [1]</a>" in rows
    assert len(re.findall(r'<th scope="row">\d{4}-\d\d-\d\d<br>', rows)) == 2 * 3  # a run by hand is of its day
    assert "0.7500 against 0.5000" in rows
    assert 'href="http://127.0.0.1/_local/objects/2/report.html" data-outside>better' in rows
    assert "retrain-line, by ada" in rows
    pair = answers["reader"]["compare"][1]
    assert "hyperparameter epochCount" in pair
    assert "training data" not in pair


def test_a_mapped_task_has_a_job_for_each_index(answers: Answers) -> None:
    """The page of an index shows its job and no other."""
    page = answers["reader"]["mapped"][1]
    assert "retrain-point-job-12" in page
    assert "retrain-point-job-11" not in page
    assert "map_index=0" in page


def test_the_models_page_says_how_the_budget_of_the_month_stands(answers: Answers) -> None:
    """What is settled, what is reserved, and the limit."""
    page = answers["reader"]["models"][1]
    assert "12.50 USD settled and 1.50 USD reserved, of 100.00 USD" in page
    assert 'value="14.0"' in page


def test_the_models_page_says_what_is_unused_and_what_it_costs(answers: Answers) -> None:
    """Of the line that it belongs to, too; a user without access to the reporting DAG sees nothing of it."""
    page = answers["reader"]["models"][1]
    assert "1.95 USD a month in total" in page
    assert page.count("not called for 14 days") == 2
    assert "by retrain." in page
    assert "retrain-line" not in answers["stranger"]["models"][1]


def test_each_link_works_where_airflow_has_a_path_in_front(answers: Answers) -> None:
    """Each page that a link of the views leads to is there."""
    links = answers["links"]
    assert {status for status, *_ in links.values()} == {200}
    assert len(links) > 8
    assert all(address.startswith("http://airflow/airflow/bedrock/") for address in links)


def test_the_views_change_nothing_and_serve_no_other_file(answers: Answers) -> None:
    """They take no POST, and serve no file beside their own, however the path is written."""
    of = answers["anonymous"]
    assert of["POST"][0] == 405
    assert of["static/style.css"][0] == of["static/view.js"][0] == 200
    assert of["static/../__init__.py"][0] == of["static/%2e%2e/web.py"][0] == 404
