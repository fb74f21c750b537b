"""What an earlier try of a task wrote down of what it asked for: in Airflow's task state store, which a Clear keeps.

The names are the state, and stay it: where there is no store (before Airflow 3.3), where it does not answer or was
emptied, they decide alone. It tells what no name can: that a job was asked for in another account or region, and under
which name, where the name renders another time in each try.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from airflow_bedrock.customization.identity import Asker
from airflow_bedrock.exceptions import BedrockFatalError

log = logging.getLogger(__name__)

_KEY = "airflow_bedrock_job"


class _Note(msgspec.Struct, frozen=True):
    """What is written down: for which ask, where, and which name. A later release may add to it."""

    ask: str
    place: str
    name: str


class SecondWitness:
    """Reads what an earlier try wrote, and writes for the next one. Never raises for an error of Airflow.

    :param store: Airflow's ``task_state_store``; None where there is none.
    :param place: account and region that this try asks in.
    """

    def __init__(self, store: Any = None, asker: Asker | None = None, place: str = "") -> None:
        self._store, self._ask, self._place = store, asker.asking if asker else "", place
        self._before = self._read()

    @property
    def name_before(self) -> str | None:
        """The name of the job that an earlier try of this very ask has asked for, or adopted; None where not known."""
        return self._before.name if self._before and self._before.ask == self._ask else None

    def check_place(self) -> None:
        """Check that this task has asked nowhere else before.

        :raises BedrockFatalError: an earlier try of this very ask did, and its job cannot be seen from here.
        """
        if self._before is None or self._before.place == self._place:
            return
        elsewhere = f"{self._before.name} in {self._before.place}, but the connection and the role now lead to "
        if self._before.ask != self._ask:
            log.warning("An earlier ask made job %s%s. That job may run on and be billed", elsewhere, self._place)
            return
        raise BedrockFatalError(
            f"An earlier try of this task asked for job {elsewhere}{self._place}. That job may run on and be billed; "
            "this try made none and spent nothing. Change the connection back and clear this task to take that job "
            "up, or stop it there, and clear this task to make another one here."
        )

    def note(self, name: str) -> None:
        """Write down that this try asks for, or adopts, the job with this name."""
        if self._store is not None:
            self._try(lambda: self._store.set(_KEY, msgspec.to_builtins(_Note(self._ask, self._place, name))))

    def forget(self) -> None:
        """Note that the service has refused what was asked for."""
        if self._store is not None:
            self._try(lambda: self._store.delete(_KEY))

    def _read(self) -> _Note | None:
        found = None if self._store is None else self._try(lambda: self._store.get(_KEY))
        try:
            return None if found is None else msgspec.convert(found, _Note)
        except msgspec.ValidationError:
            return None  # of a release that writes another form

    def _try(self, call: Any) -> Any:
        try:
            return call()
        except Exception as error:
            log.info("Airflow's task state store did not answer; the jobs' names decide alone: %s", error)
            return None
