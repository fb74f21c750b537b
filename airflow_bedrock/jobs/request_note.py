"""A note in Airflow's task state store about what an earlier try of the task requested; a Clear keeps the store.

The names are the state: if the store is missing (before Airflow 3.3), does not respond or was emptied, they alone
decide. The note has what a name cannot have: the account, region and environment of the request, and the requested
name, in case it renders differently in each try.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.jobs.account import caller_arn
from airflow_bedrock.uris import Arn

if TYPE_CHECKING:
    from airflow_bedrock.jobs.service import Service

log = logging.getLogger(__name__)

_KEY = "airflow_bedrock_job"


class _Note(msgspec.Struct, frozen=True):
    """The stored note: the ask, the place and the name. A later release may add members.

    :param environment: ``[bedrock] environment``, which is part of all names.
    """

    ask: str
    place: str
    name: str
    environment: str

    def where(self, *, environment: bool) -> str:
        """Return the place for messages."""
        return f"[bedrock] environment {self.environment!r}, {self.place}" if environment else self.place


class RequestNote:
    """The note that a try leaves for the next one: what it requested, and where. Never raises for an Airflow error.

    :param store: Airflow's ``task_state_store``; None if this Airflow has no such store.
    :param place: the account and region of this try.
    :param noun: the noun for the resource, such as ``job``.
    """

    def __init__(self, store: Any, task_key: TaskKey, place: str = "", noun: str = "job") -> None:
        self._store, self._task_key, self._place, self._noun = store, task_key, place, noun
        self.readable = store is not None
        """Whether the store can be read, so that a missing note means that nothing was requested."""
        self._before = self._read()

    @property
    def name_before(self) -> str | None:
        """The name that an earlier try of this ask requested or adopted; None if unknown."""
        return self._before.name if self._before and self._is_of_ask(self._before) else None

    def check_place(self) -> None:
        """Check that no earlier try of this ask requested a job elsewhere, or under names of another environment.

        :raises BedrockFatalError: an earlier try did, and this connection does not show its job.
        """
        before, here = self._before, self._note("")
        if before is None or (before.place, before.environment) == (here.place, here.environment):
            return
        renamed = before.environment != here.environment
        elsewhere = (
            f"{before.name} in {before.where(environment=renamed)}, but the connection, the role and the configuration "
            f"now lead to {here.where(environment=renamed)}"
        )
        if not self._is_of_ask(before):
            log.warning("An earlier ask made %s %s. It may still run and be billed", self._noun, elsewhere)
            return
        raise BedrockFatalError(
            f"An earlier try of this task requested {self._noun} {elsewhere}. It may still run and be billed; this "
            f"try made none and spent nothing. Change that back and clear this task to adopt that {self._noun}; or "
            "stop it there, and clear this task to make another one here."
        )

    def _is_of_ask(self, note: _Note) -> bool:
        return msgspec.structs.replace(self._task_key, environment=note.environment).ask_digest == note.ask

    def _note(self, name: str) -> _Note:
        return _Note(self._task_key.ask_digest, self._place, name, self._task_key.environment)

    def write(self, name: str) -> None:
        """Write that this try requests, or adopts, the resource with this name."""
        self._call("set", msgspec.to_builtins(self._note(name)))

    def clear(self) -> None:
        """Delete the note, since the service refused the request."""
        self._call("delete")

    def _read(self) -> _Note | None:
        found = self._call("get")
        try:
            return None if found is None else msgspec.convert(found, _Note)
        except msgspec.ValidationError:
            self.readable = False  # written by a release with another format: something may have been requested
            return None

    def _call(self, method: str, *values: object) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, method)(_KEY, *values)
        except Exception as error:
            self.readable = False
            log.info("Airflow's task state store did not respond; the names of the jobs alone decide: %s", error)
            return None


NO_NOTE = RequestNote(None, TaskKey(dag_id="", task_id="", run_id=""))
"""The note of a try for which nothing can be stored."""


def note_of(
    context: Mapping[str, Any], task_key: TaskKey, service: Service, role_arn: str | None = None
) -> RequestNote:
    """Return the note of an earlier try, and check that it requested nothing elsewhere.

    :param context: the task's context.
    :param role_arn: a role of the account; without one, the account is read from AWS STS.
    :raises BedrockFatalError: it requested a job elsewhere.
    """
    store = context.get("task_state_store")
    if store is None:
        return NO_NOTE
    try:
        arn = role_arn or caller_arn(service.hook)
    except CALL_ERRORS as error:
        log.info("Could not read the connection's account; the names of the jobs alone decide: %s", error)
        return NO_NOTE
    place = f"account {Arn.of(arn).account}, region {service.hook.conn_region_name}"
    note = RequestNote(store, task_key, place, service.resource.noun)
    note.check_place()
    return note
