"""Turn what tasks have pushed into the rows of the views. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from airflow_bedrock.customization.console import resource_url, s3_url
from airflow_bedrock.customization.job import duration
from airflow_bedrock.plugin.airflow_api import Entry, Run
from airflow_bedrock.prices import Prices, dollars
from airflow_bedrock.uris import Arn

NONE = "-"
"""Shown for unknown values."""

Pushed = list[tuple[Entry, dict[str, Any]]]
"""XComs with their values, newest first."""


class Place(NamedTuple):
    """The beginning of a page of jobs; a large sweep fills several pages.

    :param runs: number of later runs before it.
    :param instances: number of task instances of its first run before it.
    """

    runs: int = 0
    instances: int = 0

    @classmethod
    def read(cls, text: str) -> Place:
        """Return the place in an address; by default the first."""
        runs, _, instances = text.partition(".")
        return cls(*(int(part) if part.isdecimal() and len(part) < 10 else 0 for part in (runs, instances)))

    def __str__(self) -> str:
        return f"{self.runs}.{self.instances}"


def page_of(entries: Iterable[Entry], runs: Sequence[Run], begin: Place, most: int) -> tuple[list[Entry], Place]:
    """Return the entries of one page, by run and map index, and the beginning of the next page.

    :param runs: the runs from the page's first one on.
    :param most: maximum number of task instances, each with the tasks that wait for its job.
    """
    order = {(run.dag_id, run.run_id): number for number, run in enumerate(runs)}

    def of(entry: Entry) -> tuple[int, int]:
        return order[entry.dag_id, entry.run_id], entry.map_index

    groups = [(key, list(group)) for key, group in groupby(sorted(entries, key=of), key=of)]
    skipped = sum(1 for (run, _), _ in groups[: begin.instances] if run == 0)
    taken, rest = groups[skipped : skipped + most], groups[skipped + most :]
    following = Place(begin.runs + len(runs))
    if rest:
        run = rest[0][0][0]
        before = sum(1 for (number, _), _ in groups[: skipped + most] if number == run)
        following = Place(begin.runs + run, before)
    return [entry for _, group in taken for entry in group], following


def merged(about: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one job, merged from the XComs of the tasks of its run, newest first.

    The operator pushes the request, and the sensor the result.
    """
    known: dict[str, Any] = {"asked": {}}
    for value in reversed(list(about)):
        known |= {name: member for name, member in value.items() if member not in (None, [], {})}
    return known


def jobs(found: Pushed, evaluations: Pushed, promotions: Pushed) -> list[dict[str, Any]]:
    """Return a row for each job, in the order of the entries, with the evaluation and the promotion of its run."""
    promoted = {value.get("model_arn"): value for _, value in reversed(promotions)}
    about: dict[tuple[str, str, Any], Pushed] = {}
    for entry, value in found:
        about.setdefault((entry.dag_id, entry.run_id, value.get("job_arn")), []).append((entry, value))
    evaluated = {
        (entry.dag_id, entry.run_id, value["models"]["candidate"].get("model")): value
        for entry, value in reversed(evaluations)
    }
    rows = []
    for (dag_id, run_id, _), of_job in about.items():
        row = merged(value for _, value in of_job)
        model = row.get("custom_model_arn")
        row |= {
            "run_id": run_id,
            "task": of_job[-1][0],
            "task_instances": {entry.task_instance for entry, _ in of_job},
            "evaluation": evaluated.get((dag_id, run_id, model)) if model else None,
            "promotion": promoted.get(model) if model else None,
        }
        rows.append(row)
    return rows


def choice(row: Mapping[str, Any]) -> str:
    """Return the id of a row for the comparison."""
    return f"{row['job_arn']} {row['task'].map_index} {row['run_id']}"


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the parameters and results that differ between two jobs: the name and both values."""
    sides = [_flat(row) for row in (one, other)]
    names = dict.fromkeys([*sides[0], *sides[1]])
    return [
        (name, sides[0].get(name), sides[1].get(name)) for name in names if sides[0].get(name) != sides[1].get(name)
    ]


def models(promotions: Pushed, evaluations: Pushed, idle: Pushed, prices: Prices | None) -> list[dict[str, Any]]:
    """Return a row for each line of models: the model of the latest promotion, its score and its cost.

    :param idle: the latest report of unused resources, if there is one.
    :param prices: the prices of its storage; None if unknown.
    """
    unused = [one for _, report in idle for one in report["idle"]]
    evaluated = {(entry.dag_id, entry.run_id): value for entry, value in reversed(evaluations)}
    return [
        {
            **value,
            "since": entry.timestamp,
            "evaluation": evaluated.get((entry.dag_id, entry.run_id)),
            "dag": entry.dag_id,
            "usd_a_month": _storage(value["model_arn"], prices),
            "idle": _idle(value, unused),
        }
        for entry, value in latest(promotions, "name")
    ]


def _storage(model_arn: str, prices: Prices | None) -> float | None:
    """Return the monthly storage cost of a custom model in US dollars; None if its price is unknown."""
    price = prices.find(model_arn, "storage", Arn.of(model_arn).region) if prices else None
    return float(price.usd) if price else None


def _idle(line: Mapping[str, Any], unused: Iterable[Mapping[str, Any]]) -> str | None:
    """Return why the model of a line, or its deployment, counts as unused; None if it is used."""
    arns = (line.get("deployment_arn"), line["model_arn"])
    for one in unused:
        if one["arn"] in arns or (one["kind"], one["name"]) == ("deployment", line["name"]):
            return str(one["why"])
    return None


def running(found: Pushed, tasks: set[tuple[str, str, str, int]]) -> list[dict[str, Any]]:
    """Return a row for each job that a task instance waits for now.

    :param tasks: the task instances that run, or wait in the triggerer.
    """
    waiting = [(entry, value) for entry, value in found if entry.task_instance in tasks]
    return [{**value, "task": entry} for entry, value in latest(waiting, "job_arn") if runs(value)]


def runs(job: Mapping[str, Any]) -> bool:
    """Whether a job was still running when a task last read it."""
    return job.get("status") in ("InProgress", "Stopping")


def budget(found: Pushed) -> dict[str, Any] | None:
    """Return the budget of the month as a task last read it, and when; None if no budget is set."""
    for entry, value in found:
        if value.get("budget"):
            return {**value["budget"], "as_of": entry.timestamp}
    return None


def latest(found: Iterable[tuple[Entry, Any]], member: str) -> list[tuple[Entry, Any]]:
    """Return the newest XCom for each value of a member, such as the ARN of a job."""
    first: dict[Any, tuple[Entry, Any]] = {}
    for entry, value in found:
        first.setdefault(value.get(member), (entry, value))
    return list(first.values())


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    request = row.get("asked", {})
    parameters = {f"hyperparameter {name}": value for name, value in request.get("hyperparameters", {}).items()}
    data = request.get("training_data", {}).get("s3Uri")
    evaluation = row.get("evaluation")
    return {
        "run": row.get("run_id"),
        "base model": row.get("base_model_arn") or request.get("base_model_id"),
        "customization type": request.get("customization_type"),
        "training data": data,
        **parameters,
        "training loss": row.get("training_loss"),
        "validation loss": row.get("validation_loss"),
        "score": evaluation and evaluation["models"]["candidate"].get("value"),
        "status": row.get("status"),
        "time": _elapsed(row),
    }


def losses(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the curve of a job: training by step, validation by epoch, over the steps; None without losses.

    The points of its lines are in percent of its axes.
    """
    training = [(step, loss) for step, loss in job.get("losses_by_step", [])]
    epochs = [one for one in job.get("losses_by_epoch", []) if one.get("validation_loss") is not None]
    steps = training[-1][0] if training else len(epochs)
    validation = [(steps * place / len(epochs), one["validation_loss"]) for place, one in enumerate(epochs, start=1)]
    points = [*training, *validation]
    if not points:
        return None
    (first, last), (low, high) = (_ends(values) for values in zip(*points, strict=True))

    def drawn(line: Iterable[tuple[float, float]]) -> str:
        return " ".join(
            f"{100 * (step - first) / (last - first):.2f},{100 * (high - loss) / (high - low):.2f}"
            for step, loss in line
        )

    lines = {"training": drawn(training), "validation": drawn(validation)}
    return {"lines": lines, "steps": (first, last), "losses": (low, high)}


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    around = max(0.5, abs(low) / 1e9)  # 0.5 vanishes in a large number
    return (low, high) if high > low else (low - around, high + around)


def timeline(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the phases with their positions on the time line, in percent."""
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


def _elapsed(row: Mapping[str, Any]) -> str | None:
    if not row.get("created") or not row.get("ended"):
        return None
    return duration((row["ended"] - row["created"]).total_seconds())


def _address(page: Callable[..., str], *arguments: Any) -> str:
    """Return the address of the page; empty if a part of it is unknown."""
    return page(*arguments) if all(arguments) else ""


def _share(budget: Mapping[str, Any]) -> float | None:
    """Return the used share of a budget, in percent."""
    limit = budget.get("limit")
    return round(min(100, 100 * (budget["settled"] + budget["reserved"]) / limit), 1) if limit else None


def _tail(uri: str) -> str:
    """Return the end of an address, the folder and the file, which distinguishes data."""
    parts = uri.rstrip("/").split("/")
    return "/".join(parts[-2:]) if len(parts) > 4 else uri


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else NONE


def _moment(time: datetime | str | None) -> str:
    if isinstance(time, str):  # in Airflow's own form
        time = datetime.fromisoformat(time)
    return f"{time:%Y-%m-%d %H:%M}" if time else NONE


FILTERS = {
    "runs": runs,
    "number": _number,
    "moment": _moment,
    "choice": choice,
    "tail": _tail,
    "share": _share,
    "dollars": dollars,
    "took": lambda row: _elapsed(row) or NONE,
    "losses": losses,
    "timeline": timeline,
    "console": partial(_address, resource_url),
    "folder": partial(_address, s3_url),
}
"""The filters of the templates."""
