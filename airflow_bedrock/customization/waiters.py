"""Tags that record on the job itself which tasks may wait for it: its maker, and those that adopted it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self
from urllib.parse import quote, unquote

from airflow_bedrock.customization.identity import TaskKey

OWN_RUN = "own run"
"""A waiter's ``stop_on_kill``: stop the job only if the waiter's own DAG run requested it."""

_KEY = "airflow-bedrock/waiter/"
_ASK = "ask:"
_LEFT = "left"
# The maximum for one tag. No part begins or ends with a space, which the service might remove.
_PART = re.compile(r"\S(?:.{0,254}\S)?(?=\S|$)")


@dataclass(frozen=True, kw_only=True)
class Waiter:
    """A task that may wait for a job.

    :param until: ``task`` if the task instance itself waits, until it has ended; ``run`` if another task of its DAG run
        waits, until the run has ended.
    :param ask: the ask for which it waits; None if its tag does not say. It does not distinguish waiters.
    """

    until: Literal["task", "run"]
    dag_id: str
    task_id: str
    map_index: int
    run_id: str
    ask: int | None = field(default=None, compare=False)

    @classmethod
    def of(cls, task_key: TaskKey, *, waits: bool) -> Self:
        """Return the waiter for a task.

        :param waits: whether the task itself waits for the job.
        """
        return cls(
            until="task" if waits else "run",
            dag_id=task_key.dag_id,
            task_id=task_key.task_id,
            map_index=task_key.map_index,
            run_id=task_key.run_id,
            ask=task_key.ask,
        )

    def is_same_task(self, other: Waiter) -> bool:
        """Whether both are the same task instance."""
        return replace(self, until="task") == replace(other, until="task")

    def tags(self, task_key: TaskKey, *, for_good: bool = False) -> list[dict[str, str]]:
        """Return its tags for the API: one, or several if the ids are longer than a tag.

        :param for_good: whether the resource is in service: then each task has one tag, that of its latest run, since
            otherwise each run would add one.
        """
        value = " ".join(map(_written, (self.until, self.dag_id, self.task_id, str(self.map_index), self.run_id)))
        parts = _PART.findall(f"{value} {_ASK}{self.ask}")
        who = task_key.family if for_good else task_key.instance
        keys = (f"{_KEY}{who}{f'/{number}' if number else ''}" for number in range(len(parts)))
        return [{"key": key, "value": part} for key, part in zip(keys, parts, strict=True)]

    def leaving_tags(self, task_key: TaskKey) -> list[dict[str, str]]:
        """Return the tags that replace these when the task no longer waits for the job."""
        return [{"key": tag["key"], "value": "" if place else _LEFT} for place, tag in enumerate(self.tags(task_key))]

    @property
    def name(self) -> str:
        """Its name in logs."""
        mapped = "" if self.map_index < 0 else f"[{self.map_index}]"
        return f"{self.dag_id}.{self.task_id}{mapped} in run {self.run_id}"


def waiters(tags: Mapping[str, str]) -> list[Waiter | None]:
    """Return the tasks that may wait for a job, by its tags; None for a tag that cannot be read."""
    return [_read(value) for value in _values(tags).values() if value != _LEFT]


def was_waited_for(tags: Mapping[str, str]) -> bool:
    """Whether a job's tags name a task, even one that no longer waits."""
    return bool(_values(tags))


def is_waiter(tags: Mapping[str, str], task_key: TaskKey) -> bool:
    """Whether a job's tags say that the task made or adopted it, in any ask, and has not left it."""
    return _values(tags).get(task_key.instance, _LEFT) != _LEFT


def has_asked(tags: Mapping[str, str], task_key: TaskKey) -> bool:
    """Whether a job's tags say that this ask of the task made or adopted it."""
    waiter = _read(_values(tags).get(task_key.instance, ""))
    return waiter is not None and waiter.ask == task_key.ask


def _values(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the waiters' tags, by task instance, each joined from its parts."""
    values: dict[str, str] = {}
    for key in sorted(key for key in tags if key.startswith(_KEY)):
        instance = key.removeprefix(_KEY).partition("/")[0]
        values[instance] = values.get(instance, "") + tags[key]
    return values


def _written(text: str) -> str:
    """Return an id in the characters of a tag; other characters and separators are written as =XX (UTF-8)."""
    return quote(text, safe="+:/@").replace("~", "=7E").replace("%", "=")


def _read(value: str) -> Waiter | None:
    """Read the value of a waiter's tag; the release before this one did not write the ask."""
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
