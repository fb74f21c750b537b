"""What an earlier try of a task wrote down of what it asked for: in Airflow's task state store, which a Clear keeps.

The names are the state, and stay it: where there is no store (before Airflow 3.3), where it does not answer or was
emptied, they decide alone. It tells what no name can: that a job was asked for in another account or region, and under
which name, where the name renders another time in each try.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.customization.identity import Asker
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.jobs.account import caller_arn

if TYPE_CHECKING:
    from airflow_bedrock.jobs.service import Service

log = logging.getLogger(__name__)

_KEY = "airflow_bedrock_job"


class _Note(msgspec.Struct, frozen=True):
    """What is written down: for which ask, where, and which name. A later release may add to it."""

    ask: str
    place: str
    name: str


class SecondWitness:
    """Reads what an earlier try wrote, and writes for the next one. Never raises for an error of Airflow.

    :param store: Airflow's ``task_state_store``; None if this Airflow has no such store.
    :param place: account and region that this try asks in.
    :param part: which of several that the task asks for, one after the other.
    :param word: what is asked for, in a sentence.
    """

    def __init__(
        self, store: Any = None, asker: Asker | None = None, place: str = "", part: str = "", word: str = "job"
    ) -> None:
        self._store, self._ask, self._place = store, asker.ask_digest if asker else "", place
        self._key, self._word = f"{_KEY}_{part}" if part else _KEY, word
        self.tells = store is not None
        """Whether it would know of what an earlier try has asked for."""
        self._before = self._read()

    @property
    def name_before(self) -> str | None:
        """The name that an earlier try of this very ask has asked for, or adopted; None if not known."""
        return self._before.name if self._before and self._before.ask == self._ask else None

    def check_place(self) -> None:
        """Check that this task has asked nowhere else before.

        :raises BedrockFatalError: an earlier try of this very ask did, and its job cannot be seen from here.
        """
        if self._before is None or self._before.place == self._place:
            return
        elsewhere = f"{self._before.name} in {self._before.place}, but the connection and the role now lead to "
        if self._before.ask != self._ask:
            log.warning("An earlier ask made %s %s%s. It may run on and be billed", self._word, elsewhere, self._place)
            return
        raise BedrockFatalError(
            f"An earlier try of this task requested {self._word} {elsewhere}{self._place}. It may run on and be "
            "billed; this try made none and spent nothing. Change the connection back and clear this task to adopt "
            f"that {self._word}; or stop it there, and clear this task to make another one here."
        )

    def note(self, name: str) -> None:
        """Write down that this try asks for, or adopts, what has this name."""
        if self._store is not None:
            self._try(lambda: self._store.set(self._key, msgspec.to_builtins(_Note(self._ask, self._place, name))))

    def forget(self) -> None:
        """Note that the service has refused what was asked for."""
        if self._store is not None:
            self._try(lambda: self._store.delete(self._key))

    def _read(self) -> _Note | None:
        found = None if self._store is None else self._try(lambda: self._store.get(self._key))
        try:
            return None if found is None else msgspec.convert(found, _Note)
        except msgspec.ValidationError:
            return None  # of a release that writes another form

    def _try(self, call: Any) -> Any:
        try:
            return call()
        except Exception as error:
            self.tells = False
            log.info("Airflow's task state store did not respond; the names of the jobs alone decide: %s", error)
            return None


def witness_of(
    context: Mapping[str, Any], asker: Asker, service: Service, role_arn: str | None = None, part: str = ""
) -> SecondWitness:
    """Return what an earlier try wrote down, and check that it has asked nowhere else.

    :param context: Airflow's, of the task.
    :param role_arn: a role of the account that is asked in; without one, AWS STS tells the account.
    :param part: which of several that the task asks for.
    :raises BedrockFatalError: it asked elsewhere.
    """
    store = context.get("task_state_store")
    try:
        arn = store is not None and (role_arn or caller_arn(service.hook))
    except CALL_ERRORS as error:
        log.info("Could not read the connection's account; the names of the jobs alone decide: %s", error)
        return SecondWitness()
    if not arn:
        return SecondWitness()
    place = f"account {arn.split(':')[4]}, region {service.hook.conn_region_name}"
    witness = SecondWitness(store, asker, place, part, service.resource.word)
    witness.check_place()
    return witness
