"""The admin API under ``/_local``: health, the jobs' progress, the journal. AWS has nothing like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgspec

from airflow_bedrock import __version__
from airflow_bedrock.local.state.bedrock import World
from airflow_bedrock.local.web.journal import Journal
from airflow_bedrock.local.web.protocol import HttpResponse

Page = Callable[[World, Journal], Any]


def administer(path: str, world: World, journal: Journal) -> HttpResponse:
    """Answer a request to ``/_local/...``."""
    name = path.removeprefix("/_local/").strip("/")
    if name not in _PAGES:
        return _json(
            404, {"message": f"There is no {path}; there are {', '.join(f'/_local/{page}' for page in _PAGES)}."}
        )
    return _json(200, _PAGES[name](world, journal))


def _health(world: World, journal: Journal) -> dict[str, Any]:
    active = sum(job.active for bedrock in world.all() for job in list(bedrock.jobs.values()))
    return {"status": "ok", "version": __version__, "activeJobs": active, "calls": len(journal)}


def _jobs(world: World, journal: Journal) -> list[dict[str, Any]]:
    with world.lock:
        return [
            {
                "name": job.name,
                "arn": job.arn,
                "status": job.status,
                "phase": job.phase,
                "step": job.progress.step,
                "steps": job.progress.steps,
                "epoch": job.progress.epoch,
                "trainingLoss": job.progress.training_loss,
                "validationLoss": job.progress.validation_loss,
            }
            for bedrock in world.all()
            for job in bedrock.jobs.values()
        ]


def _calls(world: World, journal: Journal) -> list[dict[str, Any]]:
    return [asdict(call) for call in journal]


def _json(status: int, content: Any) -> HttpResponse:
    return HttpResponse(status, {"Content-Type": "application/json"}, msgspec.json.encode(content))


_PAGES: dict[str, Page] = {"health": _health, "jobs": _jobs, "calls": _calls}
