"""The declaration of a kind of resource for the engine. Each kind has its own file."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from airflow_bedrock.customization.job import NO_STATUS, Outcome
from airflow_bedrock.customization.job import ResourceState as ResourceState
from airflow_bedrock.customization.job import Seen as Seen

NEW = "Requested"
"""The status of a resource that was just created and not polled since."""

Read = Callable[[Mapping[str, Any]], Seen]
DecodePage = Callable[[bytes], tuple[list[Seen], str | None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource:
    """A kind of resource. Its List pages and sorts like the others of Bedrock; its Get accepts an ARN.

    :param kind: its full name, e.g. ``model customization job``.
    :param noun: its short name, e.g. ``job``.
    :param create_operation: the operation that creates one and returns its ARN.
    :param name: the member of its request that names the resource.
    :param model_name: the member that names the model that it makes, if that is another one.
    :param model_tags: the member that holds the tags of that model, if it has its own.
    :param tags: the member that holds its tags.
    :param taggable: whether tags can be added to its ARN; if not, its tags are those of the Create request, which Get
        returns in ``tags``.
    :param get_operation: the operation that describes one, e.g. ``GetModelCustomizationJob``.
    :param identifier: the member of its request, and of the stop and delete requests, that identifies the resource.
    :param by_name: whether Get accepts the name too; if not, List finds the ARN.
    :param token_shows: whether responses have the clientRequestToken; if not, a tag has it.
    :param list_operation: the operation that lists them, e.g. ``ListModelCustomizationJobs``.
    :param created_after: the member of its request that filters by creation time.
    :param name_contains: the member of its request that filters by name.
    :param stop_operation: the operation that stops one; None if it cannot be stopped. A resource that serves is stopped
        by deleting it.
    :param stop_seconds: how long to retry a stop that is refused because the resource is being created or changed.
    :param running: the statuses in which one can be stopped.
    :param status_filter: the member of List's request that filters by status.
    :param update_operation: the operation that changes one; None if it cannot be changed.
    :param updates: the members of the Create request that it can change, with their names in its own request.
    :param delete_operation: the operation that deletes one; None if it cannot be deleted.
    :param model_operation: the operation that describes the model that it made, which may have been deleted since.
    :param serves: returns whether an existing resource serves the requested model. Then it is adopted, and
        its name is used as given. None for jobs, whose token says who made them.
    :param read: reads the response of Get, and each summary in that of List.
    :param decode_page: reads the body of a List response, if botocore is too slow: what it lists, and the token of the
        next page.
    :param failed: the message for one that has failed or was stopped: what happened, the bill, and what to do; with
        the fields ``name``, ``arn``, ``status`` and ``reason``, the service's message.
    :param describe_failure: returns the message for one that did not succeed, if it needs more than ``failed``.
    :param billed: how it is billed, e.g. ``is billed``, after "it".
    :param stopping: what happens to one that is stopped, e.g. ``is being stopped``, after its ARN.
    :param stopped: what is billed after a stop: a clause.
    :param name_taken: what to do if its name is in use: a sentence.
    :param missing: what to do if it does not exist: a sentence.
    """

    kind: str
    noun: str
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
    status_filter: str = "statusEquals"
    update_operation: str | None = None
    updates: Mapping[str, str] = field(default_factory=dict)
    delete_operation: str | None = None
    model_operation: str | None = None
    serves: Callable[[Any, Mapping[str, Any]], bool] | None = None
    read: Read
    decode_page: DecodePage | None = None
    failed: str = ""
    describe_failure: Callable[[Any], str] | None = None
    billed: str
    stopping: str = "is being stopped"
    stopped: str = ""
    name_taken: str
    missing: str = "Somebody deleted it: clear this task to make it again."

    def listed(self, page: Mapping[str, Any]) -> list[Seen]:
        """Read the summaries on a page of List: its only list."""
        found = next((value for value in page.values() if isinstance(value, list)), [])
        return [self.read(summary) for summary in found]

    def failure_message(self, found: Seen) -> str:
        """Return the message for one that did not succeed: what happened, what is billed, and what to do."""
        if self.describe_failure is not None:
            return self.describe_failure(found)
        if found.outcome is Outcome.UNKNOWN:
            return (
                f"{self.noun.capitalize()} {found.name} has an unknown status: {found.status}. It was left unchanged, "
                f"and {self.billed}. Check it in the AWS console, and upgrade airflow-bedrock. {found.arn}"
            )
        reason = found.failure_message or "no reason was given"
        return self.failed.format(name=found.name, arn=found.arn, status=found.status, reason=reason.rstrip("."))

    @property
    def lasts(self) -> bool:
        """Whether it serves, so that it is still needed after its task has succeeded."""
        return self.serves is not None

    def is_unused(self, found: Seen) -> bool:
        """Whether nobody uses it yet: it is a job, or is still being created."""
        return not self.lasts or found.status in ("Creating", NEW)

    def is_for_good(self, identifier: str) -> bool:
        """Whether it exists as long as its account: a response gave its ARN, and it cannot be deleted."""
        return identifier.startswith("arn:") and self.delete_operation is None

    @property
    def names_waiters(self) -> bool:
        """Whether its tags name the waiting tasks: not if it costs nothing while it serves."""
        return self.stop_operation is not None or not self.lasts


def declared() -> list[Resource]:
    """Return every kind of resource, each declared in its own file in this package."""
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return [value for module in modules for value in vars(module).values() if isinstance(value, Resource)]


def reads(
    outcomes: Mapping[str, Outcome],
    *,
    status: str = "status",
    **members: str | tuple[str, ...],
) -> Read:
    """Return a function that reads a response of Get, or a summary, as a :class:`ResourceState`.

    :param outcomes: what each status means; any other is unknown, and never success.
    :param status: the member that holds the status.
    :param members: for each attribute, the member of the response, or several if Get and List name it differently.
    """
    names = {attribute: (keys,) if isinstance(keys, str) else keys for attribute, keys in members.items()}

    def read(response: Mapping[str, Any]) -> Seen:
        value = response.get(status, NO_STATUS)
        found = {attribute: response[name] for attribute, keys in names.items() for name in keys if response.get(name)}
        return ResourceState(status=value, outcome=outcomes.get(value, Outcome.UNKNOWN), **found)

    return read
