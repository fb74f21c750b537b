"""Local Bedrock's state in a directory, so that it survives the end of the process, even by SIGKILL.

::

    DIR/state.sqlite          jobs, models, deployments and the rest of Bedrock; metadata of objects; IAM
    DIR/models/<id>.npz       the weights of each custom model
    DIR/s3/<bucket>/<key>     every object, as a plain file

The web layer writes each change before it responds. Changes by background work are written at the next request, and
twice a second. Every dataclass of :class:`RegionState` is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from airflow_bedrock.local.learning.model import LanguageModel
from airflow_bedrock.local.state.bedrock import Clients, Persistence, World
from airflow_bedrock.local.state.buckets import Buckets
from airflow_bedrock.local.state.resources import RegionState, Transient
from airflow_bedrock.local.state.roles import Roles
from airflow_bedrock.local.state.store import StateError, Store, write_whole

BEAT = 0.5
"""Seconds between two writes of the changes by background work, and of the time."""

_TYPES = {name: get_args(kind)[1] for name, kind in get_type_hints(RegionState).items()}
"""The type of the values of each member of a region's state: all are dictionaries, by ARN or another key."""


class StateDirectory(Persistence):
    """Saves a world to a directory, and restores it.

    :param directory: made if it does not exist.
    :raises StateError: it holds something else, or another process uses it.
    """

    def __init__(self, directory: Path, world: World, clients: Clients) -> None:
        self._directory = directory
        self._world = world
        self._lock = threading.Lock()
        self._touching = threading.Lock()
        self._touched: set[str] = set()
        self._written: set[str] = set()
        self._weights: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="local-bedrock-state", daemon=True)
        if (earlier := directory / "state.jsonl").exists():
            raise StateError(f"{earlier} was written by an earlier version of Local Bedrock. Move {directory} away.")
        self._store = Store(directory / "state.sqlite")
        region = world.settings.region
        self._buckets = Buckets(directory, self._store, clients.client("s3", region))
        self._roles = Roles(self._store, clients.client("iam", region))

    def restore(self) -> dict[str, float]:
        """Restore the state, and return when each piece of work was started, by its key, on the current clock.

        The time between two runs does not count for the work.

        :raises StateError: the state cannot be read.
        """
        try:
            self._roles.restore()
            self._buckets.restore()
            stood = self._restore_bedrock()
        except (msgspec.MsgspecError, OSError, KeyError) as error:
            raise StateError(f"The state in {self._directory} cannot be read: {error}. Move it away.") from error
        self._world.clock.catch_up(stood)
        pause = max(0.0, self._world.clock.time() - stood)
        return {
            name.removeprefix("work/"): msgspec.json.decode(value, type=float) + pause
            for name, value in self._store.values.items()
            if name.startswith("work/")
        }

    def start(self) -> None:
        """Begin to write."""
        self.write()
        self._thread.start()

    def stop(self) -> None:
        """Write the last changes, and release the directory."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.write()

    def close(self) -> None:
        """Release the directory."""
        self._store.close()

    def touched(self, key: str) -> None:
        """Record that the work on the resource with this ARN has made a step."""
        with self._touching:
            self._touched.add(key)

    def write_objects(self, bucket: str, key: str = "") -> None:
        """Write an object that was put or deleted; without a key, everything that has changed in the bucket."""
        self._buckets.write(bucket, key)

    def write_everything(self) -> None:
        """Write everything again, changed or not."""
        for bucket in self._buckets.names():
            self._buckets.write(bucket)
        self._roles.write()
        self.write()

    def write_roles(self) -> None:
        """Write IAM's roles and policies."""
        self._roles.write()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            if self._world.runner.under_way():
                self.write()

    def write(self, *, everything: bool = True) -> None:
        """Write what has changed in Bedrock, or only what work has changed."""
        if everything or self._touched or self._world.runner.current:
            with self._lock:
                self._write(everything)

    def _write(self, everything: bool) -> None:
        with self._touching:
            keys, self._touched = self._touched, set()
        with self._world.lock:
            if current := self._world.runner.current:
                keys.add(current)
            members = self._members()
            kept = {member + key: one for member, items in members.items() for key, one in items.items()}
            names = {member + key for member in members for key in keys} | (kept.keys() - self._written)
            changes = {
                name: msgspec.json.encode(kept[name], enc_hook=_leave_out)
                for name in kept
                if everything or name in names
            }
            weights = dict(self._world.weights)
        gone: dict[str, bytes | None] = dict.fromkeys(self._written - kept.keys())
        for arn in set(weights) - self._weights:
            write_whole(self._weights_path(arn), weights[arn].save)
        self._store.write({"clock": msgspec.json.encode(self._world.clock.time()), **changes, **gone})
        for arn in self._weights - set(weights):
            self._weights_path(arn).unlink(missing_ok=True)
        self._written, self._weights = set(kept), set(weights)

    def _members(self) -> dict[str, Mapping[str, Any]]:
        """Return the state of Bedrock: each member of each region, and when work was started."""
        members = {
            f"bedrock/{bedrock.account}/{bedrock.region}/{member}/": getattr(bedrock, member)
            for bedrock in self._world.all()
            for member in _TYPES
        }
        return {**members, "work/": self._world.runner.under_way()}

    def _restore_bedrock(self) -> float:
        """Restore Bedrock's resources, and return when they were last written."""
        self._written = {name for name in self._store.values if name.startswith(("bedrock/", "work/"))}
        for name, value in self._store.values.items():
            if name.startswith("bedrock/"):
                _, account, region, member, key = name.split("/", 4)
                bedrock = self._world.bedrock(account, region)
                kept = msgspec.json.decode(value, type=_TYPES[member], dec_hook=lambda kind, _: kind())
                getattr(bedrock, member)[key] = kept
        for bedrock in self._world.all():
            for arn, model in bedrock.models.items():
                if model.checkpoint is not None or model.status != "Active":
                    continue
                self._world.weights[arn] = LanguageModel.load(self._weights_path(arn))
                self._weights.add(arn)
        return msgspec.json.decode(self._store.values.get("clock", b"0"), type=float)

    def _weights_path(self, arn: str) -> Path:
        return self._directory / "models" / f"{arn.rpartition('/')[2]}.npz"


def _leave_out(value: Any) -> None:
    if not isinstance(value, Transient):
        raise TypeError(f"{type(value)} cannot be kept: make it a dataclass, or Transient.")
