"""What the views show, from what tasks have pushed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airflow_bedrock.customization.console import resource_url, s3_url
from airflow_bedrock.customization.job import duration
from airflow_bedrock.plugin.airflow_api import Entry
from airflow_bedrock.plugin.charts import curve

NONE = "-"
"""Stands where nothing is known."""

Found = list[tuple[Entry, dict[str, Any]]]
"""XComs with their values, newest first."""


def merged(about: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is known of one job, from all that tasks of its run have pushed, newest first.

    The operator knows what was asked for, the sensor behind it what came out.
    """
    known: dict[str, Any] = {"asked": {}}
    for value in reversed(list(about)):
        known |= {name: member for name, member in value.items() if member not in (None, [], {})}
    return known


def jobs(found: Found, evaluations: Found, promotions: Found) -> list[dict[str, Any]]:
    """Return a row for each job of a DAG, newest first, with the evaluation and the promotion of its run."""
    evaluated = {entry.run_id: value for entry, value in reversed(evaluations)}
    promoted = {value.get("model_arn"): value for _, value in reversed(promotions)}
    about: dict[tuple[str, Any], Found] = {}
    for entry, value in found:
        about.setdefault((entry.run_id, value.get("job_arn")), []).append((entry, value))
    rows = []
    for (run_id, _), of_job in about.items():
        row = merged(value for _, value in of_job)
        row |= {
            "run_id": run_id,
            "run_after": of_job[0][0].run_after,
            "task": of_job[-1][0],
            "evaluation": evaluated.get(run_id),
            "promotion": promoted.get(row.get("custom_model_arn")) if row.get("custom_model_arn") else None,
        }
        rows.append(row)
    return rows


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return what was asked for, or came out, and is not the same in both jobs: its name, and both values."""
    sides = [_flat(row) for row in (one, other)]
    names = dict.fromkeys([*sides[0], *sides[1]])
    return [
        (name, sides[0].get(name), sides[1].get(name)) for name in names if sides[0].get(name) != sides[1].get(name)
    ]


def models(promotions: Found, evaluations: Found) -> list[dict[str, Any]]:
    """Return a row for each line of models: which one the latest promotion has put there, and how good it was."""
    evaluated = {(entry.dag_id, entry.run_id): value for entry, value in reversed(evaluations)}
    return [
        {
            **value,
            "since": entry.timestamp,
            "evaluation": evaluated.get((entry.dag_id, entry.run_id)),
            "dag": entry.dag_id,
        }
        for entry, value in latest(promotions, "name")
    ]


def running(found: Found, tasks: set[tuple[str, str, str, int]]) -> list[dict[str, Any]]:
    """Return a row for each job that a task instance waits for now.

    :param tasks: the task instances that run, or wait in the triggerer.
    """
    waiting = [(entry, value) for entry, value in found if entry.task_instance in tasks]
    return [
        {**value, "task": entry}
        for entry, value in latest(waiting, "job_arn")
        if value.get("status") in ("InProgress", "Stopping")
    ]


def month(found: Found) -> dict[str, Any]:
    """Return how many jobs were made this month, and what those cost whose bill is known."""
    this = f"{datetime.now(UTC):%Y-%m}"
    made = [value for _, value in latest(found, "job_arn") if (at := value.get("created")) and f"{at:%Y-%m}" == this]
    bills = [float(value["bill"]["usd"]) for value in made if value.get("bill")]
    return {"name": this, "jobs": len(made), "billed": len(bills), "usd": sum(bills)}


def latest(found: Iterable[tuple[Entry, Any]], member: str) -> list[tuple[Entry, Any]]:
    """Return of the XComs with the same value of a member, such as the ARN of a job, the newest."""
    first: dict[Any, tuple[Entry, Any]] = {}
    for entry, value in found:
        first.setdefault(value.get(member), (entry, value))
    return list(first.values())


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    asked = row.get("asked", {})
    parameters = {f"hyperparameter {name}": value for name, value in asked.get("hyperparameters", {}).items()}
    data = asked.get("training_data", {}).get("s3Uri")
    score = ((row.get("evaluation") or {}).get("models", {}).get("candidate") or {}).get("value")
    return {
        "run": row.get("run_id"),
        "base model": row.get("base_model_arn") or asked.get("base_model_id"),
        "customization type": asked.get("customization_type"),
        "training data": data,
        **parameters,
        "training loss": row.get("training_loss"),
        "validation loss": row.get("validation_loss"),
        "score": score,
        "status": row.get("status"),
        "time": _took(row),
    }


def losses(job: Mapping[str, Any]) -> Any:
    """Return the curve of a job: training by step, validation by epoch, over the steps."""
    training = [(step, loss) for step, loss in job.get("losses_by_step", [])]
    epochs = [one for one in job.get("losses_by_epoch", []) if one.get("validation_loss") is not None]
    steps = training[-1][0] if training else len(epochs)
    validation = [(steps * place / len(epochs), one["validation_loss"]) for place, one in enumerate(epochs, start=1)]
    return curve("Loss by step", {"training": training, "validation": validation}, "step")


def timeline(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the phases with their shares of the time from the first one's begin, in percent."""
    phases = [one for one in job.get("phases", []) if one.get("started")]
    if not phases:
        return []
    times = [(one["started"], one.get("changed") or one["started"]) for one in phases]
    begin, end = min(start for start, _ in times), max(stop for _, stop in times)
    whole = max((end - begin).total_seconds(), 1.0)
    return [
        {
            **phase,
            "left": round(100 * (start - begin).total_seconds() / whole, 2),
            "width": round(max(100 * (stop - start).total_seconds() / whole, 0.5), 2),
            "took": duration((stop - start).total_seconds()),
        }
        for phase, (start, stop) in zip(phases, times, strict=True)
    ]


def _took(row: Mapping[str, Any]) -> str | None:
    if not row.get("created") or not row.get("ended"):
        return None
    return duration((row["ended"] - row["created"]).total_seconds())


def _address(page: Callable[..., str], *arguments: Any) -> str:
    """Return the page of an ARN; empty for what is none."""
    try:
        return page(*arguments) if all(arguments) else ""
    except ValueError:
        return ""


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else NONE


def _moment(time: datetime | str | None) -> str:
    if isinstance(time, str):  # of Airflow's own
        time = datetime.fromisoformat(time)
    return f"{time:%Y-%m-%d %H:%M}" if time else NONE


FILTERS = {
    "number": _number,
    "moment": _moment,
    "took": lambda row: _took(row) or NONE,
    "losses": losses,
    "timeline": timeline,
    "console": partial(_address, resource_url),
    "folder": partial(_address, s3_url),
}
"""What the templates call."""
