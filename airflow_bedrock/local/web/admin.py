"""The admin API under ``/_local``: health, progress of jobs, journal, clock, faults. AWS has no such API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args
from urllib.parse import parse_qs, unquote

import msgspec

from airflow_bedrock import __version__
from airflow_bedrock.decoding import decoder
from airflow_bedrock.local import moto
from airflow_bedrock.local.faults import AnyFault, Standing
from airflow_bedrock.local.state.bedrock import World
from airflow_bedrock.local.web.journal import Call, Filter, Journal
from airflow_bedrock.local.web.page import page
from airflow_bedrock.local.web.protocol import HttpResponse


class _Move(msgspec.Struct, forbid_unknown_fields=True):
    advance: float


_OBJECTS = "/_local/objects/"
_OBJECT_HEADERS = {
    # Anybody may have put it there: it runs no script, loads nothing, and has no origin.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MOVE = decoder(_Move)
_FAULT: msgspec.json.Decoder[AnyFault] = decoder(AnyFault)  # type: ignore[arg-type]  # mypy: a union is no type
_FILTER = decoder(Filter, strict=False)


def _members(kind: Any) -> str:
    return ", ".join(kind.__struct_encode_fields__)


_FILTERS = f"The filters are: {_members(Filter)}."
_EFFECTS = "; ".join(f"{kind.__struct_config__.tag} ({_members(kind)})" for kind in get_args(AnyFault))


class Admin:
    """Handles the requests to ``/_local/...``."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world = world
        self._journal = journal
        self._pages: dict[str, dict[str, Callable[[str, str, bytes], Any]]] = {
            "health": {"GET": self._health},
            "jobs": {"GET": self._jobs},
            "throughput": {"GET": self._throughput},
            "calls": {"GET": self._calls, "DELETE": self._forget_calls},
            "clock": {"GET": self._time, "POST": self._advance},
            "faults": {"GET": self._faults, "POST": self._add_fault, "DELETE": self._remove_faults},
        }

    def answer(self, method: str, path: str, query: str, body: bytes) -> HttpResponse:
        """Return the response to a request.

        :param path: the path as sent, from ``/_local/`` on.
        """
        if path == "/_local/":
            return page(self._world, self._journal) if method in ("GET", "HEAD") else _not_taken(path, "GET", method)
        if path.startswith(_OBJECTS):
            return _object(path) if method in ("GET", "HEAD") else _not_taken(path, "GET", method)
        name, _, rest = path.removeprefix("/_local/").strip("/").partition("/")
        if name not in self._pages or (rest and name != "faults"):
            pages = ", ".join(f"/_local/{one}" for one in ("", *self._pages))
            return _json(404, {"message": f"There is no {path}; there are {pages}."})
        if method not in self._pages[name]:
            return _not_taken(path, ", ".join(self._pages[name]), method)
        try:
            return _json(200, self._pages[name][method](rest, query, body))
        except LookupError as error:
            return _json(404, {"message": str(error.args[0])})
        except (ValueError, RuntimeError) as error:  # msgspec's errors are ValueErrors
            return _json(400, {"message": str(error)})

    def _health(self, rest: str, query: str, body: bytes) -> dict[str, Any]:
        active = sum(job.active for bedrock in self._world.all() for job in list(bedrock.jobs.values()))
        counts = {"activeJobs": active, "calls": len(self._journal), "faults": len(self._world.faults)}
        return {"status": "ok", "version": __version__, **counts}

    def _jobs(self, rest: str, query: str, body: bytes) -> list[dict[str, Any]]:
        with self._world.lock:
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
                for bedrock in self._world.all()
                for job in bedrock.jobs.values()
            ]

    def _throughput(self, rest: str, query: str, body: bytes) -> list[dict[str, Any]]:
        now = self._world.clock.now()
        with self._world.lock:
            return [
                {"name": meter.name, "arn": meter.arn, "modelUnits": meter.units, "hours": meter.hours(now)}
                for bedrock in self._world.all()
                for meter in bedrock.meters.values()
            ]

    def _calls(self, rest: str, query: str, body: bytes) -> list[Call]:
        wanted = {name: values[-1] for name, values in parse_qs(query, strict_parsing=bool(query)).items()}
        with _allowing(_FILTERS):
            filter_ = _FILTER.decode(msgspec.json.encode(wanted))
        return filter_.apply(self._journal)

    def _forget_calls(self, rest: str, query: str, body: bytes) -> dict[str, Any]:
        self._journal.clear()
        return {}

    def _time(self, rest: str, query: str, body: bytes) -> dict[str, Any]:
        return {"time": self._world.clock.now()}

    def _advance(self, rest: str, query: str, body: bytes) -> dict[str, Any]:
        self._world.clock.advance(_MOVE.decode(body).advance)
        self._world.persistence.write()
        return self._time(rest, query, body)

    def _faults(self, rest: str, query: str, body: bytes) -> list[Standing]:
        standing = [one for one in self._world.faults if rest in ("", one.id)]
        if rest and not standing:
            raise LookupError(f"There is no fault {rest}.")
        return standing

    def _add_fault(self, rest: str, query: str, body: bytes) -> dict[str, Any]:
        with _allowing(f"The effects and their members are: {_EFFECTS}."):
            fault = _FAULT.decode(body)
        return {"id": self._world.faults.add(fault)}

    def _remove_faults(self, rest: str, query: str, body: bytes) -> dict[str, Any]:
        if not rest:
            self._world.faults.clear()
        elif not self._world.faults.remove(rest):
            raise LookupError(f"There is no fault {rest}.")
        return {}


@contextmanager
def _allowing(what: str) -> Iterator[None]:
    """Add what is allowed to the error of a decoder."""
    try:
        yield
    except msgspec.ValidationError as error:
        raise ValueError(f"{str(error).rstrip('.')}. {what}") from error


def _object(path: str) -> HttpResponse:
    """Return an object of S3, such as the report of an evaluation, to a browser, which cannot sign requests."""
    bucket, _, key = unquote(path.removeprefix(_OBJECTS)).partition("/")
    found = moto.s3_object(bucket, key)
    if found is None:
        return _json(404, {"message": f"There is no s3://{bucket}/{key}."})
    kind = "text/html" if key.endswith(".html") else "text/plain"
    return HttpResponse(200, {**_OBJECT_HEADERS, "Content-Type": f"{kind}; charset=utf-8"}, found.value)


def _not_taken(path: str, taken: str, method: str) -> HttpResponse:
    return _json(405, {"message": f"{path} takes {taken}, not {method}."})


def _json(status: int, content: Any) -> HttpResponse:
    return HttpResponse(status, {"Content-Type": "application/json"}, msgspec.json.encode(content))
