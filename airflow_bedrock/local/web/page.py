"""The page for people, ``GET /_local/``: jobs with their phases and losses, models, deployments, the latest calls.

It is read-only: one HTML document without scripts, forms or external content. The template escapes all names and texts
from outside.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader

from airflow_bedrock import __version__
from airflow_bedrock.local.state.bedrock import World
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.web.journal import Call, Journal
from airflow_bedrock.local.web.protocol import HttpResponse

CALLS = 100
"""Number of calls shown."""

CURVES = 20
"""Number of jobs whose losses are drawn."""

REFRESH = 10
"""Seconds after which the browser reloads the page while a job runs; otherwise it does not."""

_SUBJECTS = (
    *("jobName", "jobIdentifier", "modelDeploymentName", "customModelDeploymentIdentifier", "modelName", "modelId"),
    *("modelIdentifier", "importedModelName", "targetModelName", "provisionedModelName", "provisionedModelId"),
)
"""The parameters that name the resource of a call; the page shows the first one present, and no others."""

_STYLE = files(__package__).joinpath("templates", "page.css").read_text(encoding="utf-8")

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    # Only this style, by its hash, and nothing else.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page(world: World, journal: Journal) -> HttpResponse:
    """Show the current state."""
    with world.lock:
        everything = list(world.all())
        jobs = [(bedrock.region, job) for bedrock in everything for job in bedrock.jobs.values()]
        jobs.sort(key=lambda one: one[1].creation_time, reverse=True)
        drawn = [job for _, job in jobs if job.progress.training_losses or job.curves[0]][:CURVES]
        body = _templates.get_template("page.html").render(
            running=any(job.active for _, job in jobs),
            refresh=REFRESH,
            style=_STYLE,
            version=__version__,
            now=world.clock.now(),
            everything=everything,
            jobs=jobs,
            curves=list(map(_curve, drawn)),
            journal=journal,
            calls=journal[-CALLS:][::-1],
        )
    return HttpResponse(200, dict(_HEADERS), body.encode(errors="replace"))


def _phases(job: Job) -> str:
    lines = []
    for name, phase in job.phases.items():
        times = ""
        if phase.creation_time:
            times = f", {phase.creation_time:%H:%M:%S}"
            if phase.last_modified_time and phase.status != "InProgress":
                times += f" to {phase.last_modified_time:%H:%M:%S}"
        step = (
            f", step {job.progress.step} of {job.progress.steps}" if name == "training" and job.progress.steps else ""
        )
        lines.append(f"{name}: {phase.status}{times}{step}")
    return "\n".join(lines)


def _subject(call: Call) -> str:
    if call.service == "s3":
        return "/".join(str(call.parameters[name]) for name in ("Bucket", "Key") if call.parameters.get(name))
    return next((str(call.parameters[name]) for name in _SUBJECTS if name in call.parameters), "")


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def _curve(job: Job) -> dict[str, Any]:
    """Return how to draw a job's losses by step, in the template's picture: x from 60 to 590, y from 136 up to 10."""
    # The losses of a job that ended before a restart are kept in the job.
    training, validation = job.progress.curves if job.progress.training_losses else job.curves
    last = max(job.progress.steps, training[-1][0])
    losses = [loss for _, loss in training + validation]
    low, high = min(losses), max(losses)

    def place(step: int, loss: float) -> str:
        return f"{60 + 530 * step / last:.1f},{10 + 126 * (high - loss) / ((high - low) or 1):.1f}"

    summary = f"Training loss went from {training[0][1]:.3f} to {training[-1][1]:.3f} in {training[-1][0]} steps"
    if validation:
        summary += f", validation loss from {validation[0][1]:.3f} to {validation[-1][1]:.3f}"
    lines = {"training": [place(*one) for one in training], "validation": [place(*one) for one in validation]}
    return {"job": job, "summary": summary, "lines": lines, "last": last, "low": f"{low:.3f}", "high": f"{high:.3f}"}


_templates = Environment(
    loader=PackageLoader("airflow_bedrock.local.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_templates.filters |= {"phases": _phases, "subject": _subject, "time": _time}
