"""The declaration of a kind of resource for the engine. Each kind has a file of its own."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.customization.job import ResourceState as ResourceState
from airflow_bedrock.customization.job import Seen as Seen
from airflow_bedrock.customization.tags import token_in

NEW = "(new)"
"""The status of what was just made, and not checked since."""

Read = Callable[[Mapping[str, Any]], Seen]
ReadPage = Callable[[bytes], tuple[list[Seen], str | None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource:
    """A kind of resource. Its List pages and sorts as all of Bedrock's do; its Get takes an ARN.

    :param noun: how it is called, e.g. ``model customization job``.
    :param word: how it is called for short, e.g. ``job``.
    :param create_operation: the operation that makes one and answers with its ARN.
    :param name: the member of its request by whose value one is found.
    :param model_name: the member that names the model which it makes, where that is another one.
    :param model_tags: the member that holds the tags of that model, where it has tags of its own.
    :param tags: the member that holds its tags.
    :param taggable: whether its ARN takes tags; where it does not, its tags are those that it was made with, which the
        response of Get shows in ``tags``.
    :param get_operation: the operation that describes one, e.g. ``GetModelCustomizationJob``.
    :param identifier: the member of its request, and of stop's and delete's, that says which.
    :param by_name: whether Get takes the name too; where it does not, List finds the ARN.
    :param token_shows: whether what ``read`` reads says the clientRequestToken; where it does not, a tag says it.
    :param list_operation: the operation that lists them, e.g. ``ListModelCustomizationJobs``.
    :param created_after: the member of its request that leaves older ones out.
    :param name_contains: the member of its request that leaves out those with other names.
    :param stop_operation: the operation that stops one; None where it cannot be stopped. What serves is stopped by the
        operation that deletes it.
    :param stop_seconds: how long a stop is tried again that is refused because one is being made or changed.
    :param running: the statuses in which one can be stopped.
    :param status_filter: the member of List's request that leaves out those in other statuses.
    :param unused: the statuses in which one that serves is being made, so that nobody uses it yet.
    :param update_operation: the operation that changes one; None where it cannot be changed.
    :param updates: the members of Create's request that can be changed so, each by its name in the request of that.
    :param delete_operation: the operation that deletes one; None where it cannot be deleted.
    :param model_operation: the operation that describes the model that one has made, which may be deleted since.
    :param serves: whether one that was found serves what a request asks for. Any is taken, of any maker; its name
        is used as it is given. None for what is done once: a job's token says whose it is.
    :param read: reads the response of Get, and each summary in that of List.
    :param read_page: reads the body of a response of List: what is on the page, and what continues after it.
    :param failure_message: says of one that ended in any way but success what happened, the bill, and what to do.
    :param billed: how it is billed, e.g. ``is billed``, after "it".
    :param stopping: what becomes of one that is stopped, e.g. ``is being stopped``, after its ARN.
    :param stopped: what is billed of one that is being stopped: a clause.
    :param name_taken: what to do where its name is another's: a sentence.
    :param missing: what to do if one does not exist that should: a sentence.
    """

    noun: str
    word: str
    create_operation: str
    name: str
    model_name: str | None = None
    model_tags: str | None = None
    tags: str
    taggable: bool = True
    get_operation: str
    identifier: str
    by_name: bool = True
    token_shows: bool = True
    list_operation: str
    created_after: str = "creationTimeAfter"
    name_contains: str = "nameContains"
    stop_operation: str | None = None
    stop_seconds: float = 0.0
    running: Sequence[str] = ("InProgress",)
    unused: Sequence[str] = ()
    status_filter: str = "statusEquals"
    update_operation: str | None = None
    updates: Mapping[str, str] = field(default_factory=dict)
    delete_operation: str | None = None
    model_operation: str | None = None
    serves: Callable[[Any, Mapping[str, Any]], bool] | None = None
    read: Read
    read_page: ReadPage
    failure_message: Callable[[Any], str]
    billed: str
    stopping: str = "is being stopped"
    stopped: str = ""
    name_taken: str
    missing: str = "Somebody deleted it: clear this task to make it again."

    @property
    def lasts(self) -> bool:
        """Whether it serves, so that it is wanted on when the task that has asked for it has succeeded."""
        return self.serves is not None

    def is_unused(self, found: Seen) -> bool:
        """Whether nobody uses it yet: it is done once, or is still being made."""
        return not self.lasts or found.status in (*self.unused, NEW)

    @property
    def names_waiters(self) -> bool:
        """Whether its tags say who waits for it: those of what costs nothing while it serves do not."""
        return self.stop_operation is not None or not self.lasts


def declared() -> list[Resource]:
    """Return every kind of resource that is declared here, each in a file of its own."""
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return [value for module in modules for value in vars(module).values() if isinstance(value, Resource)]


def reads(
    outcomes: Mapping[str, Outcome],
    *,
    tags: str | None = None,
    status: str = "status",
    kind: Callable[..., Seen] = ResourceState,
    **members: str | tuple[str, ...],
) -> Read:
    """Return what reads a response of Get, or a summary, as a :class:`ResourceState`.

    :param outcomes: what each status means; any other is not known, and never success.
    :param tags: the member that shows its tags, one of which says the token.
    :param status: the member that holds the status.
    :param kind: the class, where ResourceState does not have all members.
    :param members: for each of its members that of the response, or several where Get and List say it differently.
    """
    names = {own: (given,) if isinstance(given, str) else given for own, given in members.items()}

    def read(response: Mapping[str, Any]) -> Seen:
        said = response.get(status, "(none)")
        found = {own: response[name] for own, given in names.items() for name in given if response.get(name)}
        if tags is not None:
            found["token"] = token_in({tag["key"]: tag["value"] for tag in response.get(tags, ())})
        return kind(status=said, outcome=outcomes.get(said, Outcome.UNKNOWN), **found)

    return read


def failure(failed: str, unknown: str | None = None) -> Callable[[Seen], str]:
    """Return what says of one that ended in any way but success what happened, the bill, and what to do.

    :param failed: the text, with the fields ``name``, ``arn``, ``status`` and ``said``, the service's words.
    :param unknown: the text for an unknown status, where it is another one.
    """

    def message(found: Seen) -> str:
        text = unknown if unknown and found.outcome is Outcome.UNKNOWN else failed
        said = found.failure_message or "no reason was given"
        return text.format(name=found.name, arn=found.arn, status=found.status, said=said)

    return message


def reads_page(summaries: str, read: Read) -> ReadPage:
    """Return what reads a page of List.

    :param summaries: the member that holds what is listed.
    """

    def read_page(body: bytes) -> tuple[list[Seen], str | None]:
        page = json.loads(body, object_hook=_with_times)
        return [read(summary) for summary in page.get(summaries, ())], page.get("nextToken")

    return read_page


def _with_times(response: dict[str, Any]) -> dict[str, Any]:
    times = {name for name in response if name.endswith(("Time", "At")) and isinstance(response[name], str)}
    return {**response, **{name: datetime.fromisoformat(response[name]) for name in times}}
