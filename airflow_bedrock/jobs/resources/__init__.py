"""What a kind of resource is for those who wait for it: one file a kind, each a declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from airflow_bedrock.customization.job import Outcome


class Seen(Protocol):
    """A resource at one moment, as Get or List shows it."""

    @property
    def arn(self) -> str: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def status(self) -> str:
        """The service's word."""

    @property
    def outcome(self) -> Outcome:
        """What the status means for whoever waits."""

    @property
    def created(self) -> datetime | None: ...  # noqa: D102

    @property
    def progress(self) -> object:
        """What is news to whoever waits when it is another one than before."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource:
    """A kind of resource. Its List pages and sorts as all of Bedrock's do; its Get takes an ARN or a name.

    :param noun: how it is called, e.g. ``model customization job``.
    :param get_operation: the operation that describes one, e.g. ``GetModelCustomizationJob``.
    :param identifier: the member of its request that says which.
    :param list_operation: the operation that lists them, e.g. ``ListModelCustomizationJobs``.
    :param created_after: the member of its request that leaves older ones out.
    :param read: reads the response of Get.
    :param read_page: reads the body of a response of List: what is on the page, and what continues after it.
    """

    noun: str
    get_operation: str
    identifier: str
    list_operation: str
    created_after: str
    read: Callable[[Mapping[str, Any]], Seen]
    read_page: Callable[[bytes], tuple[list[Seen], str | None]]
