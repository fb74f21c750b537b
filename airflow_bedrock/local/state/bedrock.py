"""One account's Bedrock in one region, and the world of all of them; operations and work use both."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol, TypeVar

from airflow_bedrock.local.clock import Clock
from airflow_bedrock.local.errors import not_found
from airflow_bedrock.local.faults import Faults
from airflow_bedrock.local.learning.model import LanguageModel
from airflow_bedrock.local.runner import Runner
from airflow_bedrock.local.settings import Settings
from airflow_bedrock.local.state.resources import RegionState, Resource, new_id

Kind = TypeVar("Kind", bound=Resource)


class Clients(Protocol):
    """Makes clients of other AWS services."""

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client of Local Bedrock's own endpoint; its calls are not in the journal."""


class Persistence:
    """Keeps state between runs; this class keeps nothing."""

    def touched(self, key: str) -> None:
        """Record that the work on the resource with this ARN has made a step."""

    def write(self, *, everything: bool = True) -> None:
        """Write what has changed in Bedrock, or only what work has changed; called before the response is sent."""

    def write_objects(self, bucket: str, key: str = "") -> None:
        """Write an object that was put or deleted; without a key, everything that has changed in the bucket."""

    def write_roles(self) -> None:
        """Write IAM's roles and policies."""


@dataclass
class World:
    """The state of one Local Bedrock, without HTTP.

    :param faults: the injected faults.
    :param lock: hold it while reading or changing resources.
    :param weights: the language model of each custom model, by ARN.
    :param persistence: keeps state between runs.
    """

    settings: Settings
    clients: Clients
    clock: Clock
    faults: Faults
    lock: threading.RLock = field(default_factory=threading.RLock)
    accounts: dict[tuple[str, str], Bedrock] = field(default_factory=dict)
    weights: dict[str, LanguageModel] = field(default_factory=dict)
    persistence: Persistence = field(default_factory=Persistence)

    def __post_init__(self) -> None:
        self.runner = Runner(self.clock, lambda key: self.persistence.touched(key))

    def bedrock(self, account: str, region: str) -> Bedrock:
        """Return this account's Bedrock in this region."""
        with self.lock:
            return self.accounts.setdefault((account, region), Bedrock(self, account, region))

    def all(self) -> Iterator[Bedrock]:
        """Return Bedrock in every account and region that was used."""
        with self.lock:
            return iter([*self.accounts.values()])


class Bedrock(RegionState):
    """One account's Bedrock in one region, with all its resources."""

    def __init__(self, world: World, account: str, region: str) -> None:
        super().__init__()
        self.world, self.account, self.region = world, account, region

    @property
    def today(self) -> date:
        """The date, in UTC."""
        return self.world.clock.now().date()

    def new_arn(self, kind: str) -> str:
        """Return a new ARN, such as ``…:custom-model-deployment/abc123def456``."""
        return f"arn:aws:bedrock:{self.region}:{self.account}:{kind}/{new_id()}"

    def due(self, arn: str, share: float = 1.0) -> float:
        """Return when the work on a resource has used a share of a job's time."""
        return self.world.runner.started(arn) + share * self.world.settings.job_seconds

    def tag(self, arn: str, tags: Iterable[Mapping[str, str]] | None) -> None:
        """Add tags to a resource, in the form of a request. Hold the world's lock."""
        if tags:
            self.tags.setdefault(arn, {}).update({one["key"]: one["value"] for one in tags})

    def client(self, service: str) -> Any:
        """Return a boto3 client of another service in this region."""
        return self.world.clients.client(service, self.region)


def find(resources: Mapping[str, Kind], identifier: str) -> Kind | None:
    """Return the resource with this ARN or name."""
    if identifier in resources:
        return resources[identifier]
    return next((resource for resource in resources.values() if resource.name == identifier), None)


def get(resources: Mapping[str, Kind], identifier: str, kind: str) -> Kind:
    """Return the resource with this ARN or name.

    :param kind: its kind, for the message.
    :raises ServiceError: ResourceNotFoundException, if it does not exist.
    """
    if resource := find(resources, identifier):
        return resource
    raise not_found(f"The provided {kind} {identifier} was not found.")
