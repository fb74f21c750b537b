"""The page for people, ``GET /_local/``: jobs with their phases and losses, models, what serves them, the latest calls.

It only shows: one HTML document without scripts, forms or anything from elsewhere. What others have named or said is
escaped where it is put between tags.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from itertools import chain, repeat

from airflow_bedrock import __version__
from airflow_bedrock.local.state.bedrock import Bedrock, World
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.web.journal import Call, Journal
from airflow_bedrock.local.web.protocol import HttpResponse

CALLS = 100
"""Calls shown."""

CURVES = 20
"""Jobs whose losses are drawn."""

REFRESH = 10
"""Seconds after which a browser asks again while a job runs; what stands still is left to be read."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 600, 160, 60, 24

_SUBJECTS = (
    *("jobName", "jobIdentifier", "modelDeploymentName", "customModelDeploymentIdentifier", "modelName", "modelId"),
    *("modelIdentifier", "importedModelName", "targetModelName", "provisionedModelName", "provisionedModelId"),
)
"""The parameters that name what a call is about, of which the first that there is is shown, and no others."""

_STYLE = """
:root { color-scheme: light dark; --line: #ccc; --training: #0550ae; --validation: #bc4c00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --training: #79b8ff; --validation: #ffa657; --bad: #ff8a80; }
}
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; }
h2 { margin-top: 2rem; }
tr:target { outline: 2px solid var(--training); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td, th[scope=row] { white-space: pre-line; overflow-wrap: break-word; max-width: 26rem; }
th[scope=row] { font-weight: 600; }
td { font-variant-numeric: tabular-nums; }
figure { display: inline-block; margin: 0 1.5rem 1rem 0; max-width: 100%; }
svg { max-width: 100%; height: auto; }
svg text { fill: currentColor; font: 12px system-ui, sans-serif; }
.axis { stroke: var(--line); }
.training, .validation { fill: none; stroke: var(--training); stroke-width: 2; }
.validation { stroke: var(--validation); stroke-dasharray: 6 3; }
circle.validation { fill: var(--validation); stroke: none; }
.bad { color: var(--bad); }
"""

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    # This one style, by its hash: no other, and nothing else.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def page(world: World, journal: Journal) -> HttpResponse:
    """Show all of it as it is now."""
    with world.lock:
        everything = list(world.all())
        jobs = [(bedrock, job) for bedrock in everything for job in bedrock.jobs.values()]
        jobs.sort(key=lambda one: one[1].creation_time, reverse=True)
        running = any(job.active for _, job in jobs)
        drawn = [job for _, job in jobs if job.progress.training_losses or job.curves[0]][:CURVES]
        sections = [
            _section("Jobs", _JOBS, (_job(*one) for one in jobs), ids=(job.arn for _, job in jobs)),
            f"<h2>Losses</h2>\n{''.join(map(_figure, drawn)) or '<p>None yet.</p>'}\n",
            _section("Models", _MODELS, chain.from_iterable(map(_models, everything))),
            _section("Deployments", _DEPLOYMENTS, chain.from_iterable(map(_deployments, everything))),
            _section(
                "Provisioned throughput",
                _THROUGHPUT,
                chain.from_iterable(map(_throughput, everything)),
                ids=(arn for one in everything for arn in one.throughputs),
            ),
            _section(
                "Batch inference jobs",
                _BATCH,
                chain.from_iterable(map(_batch, everything)),
                ids=(arn for one in everything for arn in one.invocations),
            ),
            _section(
                "Copies and imports",
                _COMING,
                chain.from_iterable(map(_coming, everything)),
                ids=(arn for one in everything for arn in (*one.copies, *one.imports)),
            ),
        ]
    calls = journal[-CALLS:][::-1]
    sections.append(_section("Journal", _CALLS, map(_call, calls), f"The latest {len(calls)} of {len(journal)} calls."))
    body = _DOCUMENT.format(
        refresh=f'<meta http-equiv="refresh" content="{REFRESH}">\n' if running else "",
        style=_STYLE,
        version=escape(__version__),
        now=_time(world.clock.now()),
        sections="".join(sections),
    )
    return HttpResponse(200, dict(_HEADERS), body.encode(errors="replace"))


_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
{refresh}<title>Local Bedrock</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Local Bedrock</h1>
<p>Version {version}. It is {now}; all times are UTC, by the clock of Local Bedrock.</p>
{sections}</main>
</body>
</html>
"""

_JOBS = ("Job", "Region", "Base model", "Method", "Status", "Phases", "Created", "Ended", "Failure")
_MODELS = ("Model", "Region", "Base model", "Method", "Status", "Created")
_DEPLOYMENTS = ("Deployment", "Region", "Model", "Status", "Created", "Updated")
_THROUGHPUT = ("Throughput", "Region", "Model", "Units", "Status", "Created")
_BATCH = ("Job", "Region", "Model", "Status", "Records", "Created", "Ended", "Failure")
_COMING = ("Model", "Region", "From", "Status", "Created", "Failure")
_CALLS = ("Number", "Time", "Service", "Operation", "Of", "Region", "Status", "Error", "Fault")


def _job(bedrock: Bedrock, job: Job) -> Sequence[str]:
    ended, failure = _time(job.end_time), job.failure_message or ""
    what = (job.name, bedrock.region, job.base_model, job.type, job.status)
    return (*what, _phases(job), _time(job.creation_time), ended, failure)


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


def _models(bedrock: Bedrock) -> Iterable[Sequence[str]]:
    for model in bedrock.models.values():
        what = (model.name, bedrock.region, model.base_model, model.type, model.status)
        yield (*what, _time(model.creation_time))
    for one in bedrock.imported.values():
        yield one.name, bedrock.region, one.architecture, "imported", one.status, _time(one.creation_time)


def _deployments(bedrock: Bedrock) -> Iterable[Sequence[str]]:
    for one in bedrock.deployments.values():
        model = bedrock.models.get(one.model_arn)
        update = f"\n{one.update.status}" if one.update else ""
        what = (one.name, bedrock.region, model.name if model else one.model_arn, f"{one.status}{update}")
        yield (*what, _time(one.creation_time), _time(one.last_updated_time))


def _throughput(bedrock: Bedrock) -> Iterable[Sequence[str]]:
    for one in bedrock.throughputs.values():
        yield one.name, bedrock.region, one.model_arn, str(one.units), one.status, _time(one.creation_time)


def _batch(bedrock: Bedrock) -> Iterable[Sequence[str]]:
    for one in bedrock.invocations.values():
        records = f"{one.counts.processed} of {one.counts.total}"
        times = _time(one.creation_time), _time(one.end_time)
        yield one.name, bedrock.region, one.request["modelId"], one.status, records, *times, one.message or ""


def _coming(bedrock: Bedrock) -> Iterable[Sequence[str]]:
    for copied in bedrock.copies.values():
        what = (copied.name, bedrock.region, copied.source_arn, copied.status, _time(copied.creation_time))
        yield (*what, copied.failure_message or "")
    for one in bedrock.imports.values():
        source = one.request["modelDataSource"]["s3DataSource"]["s3Uri"]
        what = (one.request["importedModelName"], bedrock.region, source, one.status, _time(one.creation_time))
        yield (*what, one.failure_message or "")


def _call(call: Call) -> Sequence[str]:
    what = (str(call.number), _time(call.time), call.service, call.operation, _subject(call), call.region)
    return (*what, str(call.status or "no answer"), call.error or "", call.fault or "")


def _subject(call: Call) -> str:
    if call.service == "s3":
        return "/".join(str(call.parameters[name]) for name in ("Bucket", "Key") if call.parameters.get(name))
    return next((str(call.parameters[name]) for name in _SUBJECTS if name in call.parameters), "")


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def _section(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = "", ids: Iterable[str] = ()
) -> str:
    """Return a heading and a table, whose first column names the row.

    :param ids: of the rows, by which links lead to them.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(_row(columns, *one) for one in zip(rows, chain(ids, repeat("")), strict=False))
    said = f"<p>{escape(note)}</p>\n" if note else ""
    if not body:
        return f"<h2>{escape(title)}</h2>\n<p>None yet.</p>\n"
    table = f'<table aria-label="{escape(title)}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>'
    # With the keyboard, too, one can scroll to what does not fit.
    wide = f'<div class="wide" role="region" aria-label="{escape(title)}" tabindex="0">\n{table}\n</div>'
    return f"<h2>{escape(title)}</h2>\n{said}{wide}\n"


def _row(columns: Sequence[str], row: Sequence[str], id_: str) -> str:
    anchor = f' id="{escape(id_)}"' if id_ else ""
    cells = "".join(map(_cell, columns[1:], row[1:]))
    return f'<tr{anchor}><th scope="row">{escape(row[0])}</th>{cells}</tr>\n'


def _cell(column: str, text: str) -> str:
    bad = ' class="bad"' if text and (column in ("Failure", "Error") or text == "Failed") else ""
    return f"<td{bad}>{escape(text)}</td>"


def _figure(job: Job) -> str:
    """Draw a job's losses by step."""
    # Those of a job that ended before a restart are kept.
    training, validation = job.progress.curves if job.progress.training_losses else job.curves
    last = max(job.progress.steps, training[-1][0])
    losses = [loss for _, loss in training + validation]
    low, high = min(losses), max(losses)

    def place(step: int, loss: float) -> tuple[float, float]:
        across = (_WIDTH - _LEFT - 10) * step / last
        return _LEFT + across, 10 + (_HEIGHT - _BOTTOM - 10) * (high - loss) / ((high - low) or 1)

    def line(kind: str, points: Sequence[tuple[int, float]]) -> str:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        return f'<polyline class="{kind}" points="{places}"/>'

    dots = "".join(
        f'<circle class="validation" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in (place(*one) for one in validation)
    )
    told = f"Training loss went from {training[0][1]:.3f} to {training[-1][1]:.3f} in {training[-1][0]} steps"
    if validation:
        told += f", validation loss from {validation[0][1]:.3f} to {validation[-1][1]:.3f}"
    floor, right, id_ = _HEIGHT - _BOTTOM, _WIDTH - 10, escape(job.id)
    return f"""<figure>
<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-labelledby="title-{id_} desc-{id_}">
<title id="title-{id_}">Losses of {escape(job.name)} by step</title>
<desc id="desc-{id_}">{told}.</desc>
<path class="axis" fill="none" d="M{_LEFT},10 V{floor} H{right}"/>
<text x="{_LEFT - 6}" y="14" text-anchor="end">{high:.3f}</text>
<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">{low:.3f}</text>
<text x="{_LEFT}" y="{_HEIGHT - 6}">0</text>
<text x="{right}" y="{_HEIGHT - 6}" text-anchor="end">step {last}</text>
{line("training", training)}{line("validation", validation) if validation else ""}{dots}
</svg>
<figcaption>{escape(job.name)}: training (solid){", validation (dashed)" if validation else ""}. {told}.</figcaption>
</figure>
"""
