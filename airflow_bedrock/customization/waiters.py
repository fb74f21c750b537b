"""The tags by which a job itself says who may wait for it: its maker, and those that adopted it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import quote, unquote

from airflow_bedrock.customization.identity import Asker

OWN_RUN = "own run"
"""A waiter's ``stop_on_kill``: stop the job only if the waiter's own DAG run has asked for it."""

_KEY = "airflow-bedrock/waiter/"
_ASK = "ask:"
_MAX_VALUE = 256  # of a tag; a longer one cannot be written


@dataclass(frozen=True, kw_only=True)
class Waiter:
    """Someone who may wait for a job.

    :param until: ``task``: the task instance waits itself, until it has ended. ``run``: something else in its DAG run
        waits, until that has ended.
    :param ask: for which of its asks; None where its tag does not say. It is the same waiter all the same.
    """

    until: Literal["task", "run"]
    dag_id: str
    task_id: str
    map_index: int
    run_id: str
    ask: int | None = field(default=None, compare=False)

    @classmethod
    def of(cls, asker: Asker, *, waits: bool) -> Self:
        """Return the waiter that an asker is.

        :param waits: whether the asking task waits for the job by itself.
        """
        return cls(
            until="task" if waits else "run",
            dag_id=asker.dag_id,
            task_id=asker.task_id,
            map_index=asker.map_index,
            run_id=asker.run_id,
            ask=asker.ask,
        )

    def tag(self, asker: Asker) -> dict[str, str]:
        """Return the tag that says so, as the API takes it; its value is too long for a tag where the ids are."""
        value = " ".join(map(_written, (self.until, self.dag_id, self.task_id, str(self.map_index), self.run_id)))
        asking = f"{value} {_ASK}{self.ask}"
        return {"key": f"{_KEY}{asker.instance}", "value": asking if len(asking) <= _MAX_VALUE else value}

    @property
    def name(self) -> str:
        """What a log calls it."""
        mapped = "" if self.map_index < 0 else f"[{self.map_index}]"
        return f"{self.dag_id}.{self.task_id}{mapped} in run {self.run_id}"


def fits(tag: Mapping[str, str]) -> bool:
    """Whether the service takes the tag."""
    return len(tag["value"]) <= _MAX_VALUE


def waiters(tags: Mapping[str, str]) -> list[Waiter | None]:
    """Return who may wait for a job, by its tags; None stands for a waiter's tag that cannot be read."""
    return [_read(value) for key, value in tags.items() if key.startswith(_KEY)]


def has_asked(tags: Mapping[str, str], asker: Asker) -> bool:
    """Whether a job's tags say that this very ask of the asker has made or adopted it."""
    waiter = _read(tags.get(f"{_KEY}{asker.instance}", ""))
    return waiter is not None and waiter.ask == asker.ask


def _written(text: str) -> str:
    """Return an id in the characters of a tag: what a tag may not hold, and what parts ids, as =XX of its UTF-8."""
    return quote(text, safe="+:/@").replace("~", "=7E").replace("%", "=")


def _read(value: str) -> Waiter | None:
    """Read the value of a waiter's tag; the release before this one did not say the ask."""
    parts = [unquote(part.replace("=", "%")) for part in value.split(" ")]
    if len(parts) not in (5, 6) or parts[0] not in ("task", "run"):
        return None
    until, dag_id, task_id, index, run_id, *further = parts
    ask = further[0].removeprefix(_ASK) if further else None
    if not index.removeprefix("-").isdecimal() or not (ask is None or ask.isdecimal()):
        return None
    return Waiter(
        until="task" if until == "task" else "run",
        dag_id=dag_id,
        task_id=task_id,
        map_index=int(index),
        run_id=run_id,
        ask=None if ask is None else int(ask),
    )
