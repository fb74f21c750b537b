"""What the views in Airflow's UI show of what tasks have pushed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

if Version(airflow_version) < Version("3.1"):
    pytest.skip("Airflow < 3.1 has no views", allow_module_level=True)

from airflow_bedrock.plugin.airflow_api import Entry
from airflow_bedrock.plugin.rows import FILTERS, NONE, differences, jobs, models, timeline

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def of_task(task_id: str, run_id: str = "run") -> Entry:
    return Entry("retrain", run_id, task_id, -1, "key", "1", "1")


def job(name: str) -> dict[str, Any]:
    return {"job_arn": f"job-{name}", "custom_model_arn": f"model-{name}"}


@pytest.mark.parametrize(
    ("names", "run", "candidate", "evaluated"),
    [
        (["a"], "run", "model-a", ["a"]),
        (["a"], "run", "another model", []),
        (["a"], "another run", "model-a", []),
        (["a", "b"], "run", "model-b", ["b"]),
    ],
)
def test_an_evaluation_is_of_the_job_whose_model_it_names(
    names: list[str], run: str, candidate: str, evaluated: list[str]
) -> None:
    """In the same run: an evaluation names the model that has answered, behind whichever deployment."""
    found = [(of_task(f"train_{name}"), job(name)) for name in names]
    evaluation = {"verdict": "better", "models": {"candidate": {"model": candidate, "value": 0.9}}}
    rows = jobs(found, [(of_task("evaluate", run), evaluation)], [])
    assert [row["job_arn"] for row in rows if row["evaluation"]] == [f"job-{name}" for name in evaluated]


def test_a_line_of_models_has_the_evaluation_of_its_run() -> None:
    """Not that of another run."""
    promotion = (of_task("promote"), {"name": "router", "model_arn": "model"})
    evaluations = [(of_task("evaluate", run), {"verdict": run}) for run in ("later", "run", "earlier")]
    [line] = models([promotion], evaluations, [], None)
    assert line["evaluation"] == {"verdict": "run"}


def test_what_differs_between_two_jobs_has_both_values() -> None:
    """What is the same is left out; what only one has stands beside nothing."""
    one = {"run_id": "a", "status": "Completed", "created": BEGIN, "ended": BEGIN + HOUR}
    other = {"run_id": "b", "status": "Completed", "asked": {"hyperparameters": {"epochCount": "2"}}}
    assert differences(one, other) == [
        ("run", "a", "b"),
        ("time", "1 h 0 min", None),
        ("hyperparameter epochCount", None, "2"),
    ]


def test_the_phases_of_a_job_share_its_time() -> None:
    """Each begins where it began, in percent; a phase that has not begun is not there."""
    phases = [
        {"name": "validation", "started": BEGIN, "changed": BEGIN + HOUR},
        {"name": "training", "started": BEGIN + HOUR, "changed": BEGIN + 3 * HOUR},
        {"name": "upload", "started": None},
    ]
    drawn = [(one["name"], one["left"], one["width"], one["took"]) for one in timeline({"phases": phases})]
    assert drawn == [("validation", 0, 33.33, "1 h 0 min"), ("training", 33.33, 66.67, "2 h 0 min")]


def test_a_job_that_runs_has_taken_no_time_yet() -> None:
    """How long it takes is known at its end."""
    took: Any = FILTERS["took"]
    assert took({"created": BEGIN, "ended": BEGIN + 2 * HOUR}) == "2 h 0 min"
    assert took({"created": BEGIN, "ended": None}) == NONE
