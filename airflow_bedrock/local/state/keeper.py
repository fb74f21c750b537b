"""Keeps Local Bedrock's state in a directory: jobs, models, deployments, and what the S3 buckets hold.

::

    DIR/bedrock.json          jobs, custom models, deployments
    DIR/models/<id>.npz       the weights of each custom model
    DIR/s3/<bucket>/<key>     every object, as a plain file
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from airflow_bedrock.local.learning.model import LanguageModel
from airflow_bedrock.local.state.bedrock import Bedrock, World
from airflow_bedrock.local.state.buckets import Buckets
from airflow_bedrock.local.state.files import write_whole
from airflow_bedrock.local.state.resources import PHASES, Job, Phase, Progress, Shelf
from airflow_bedrock.local.work.customization import customize
from airflow_bedrock.local.work.deployment import deploy, update

VERSION = 1


class StateError(Exception):
    """What the state directory holds cannot be read."""


class _Place(msgspec.Struct):
    account: str
    region: str
    shelf: Shelf


class _Kept(msgspec.Struct):
    version: int
    places: list[_Place]


class Keeper:
    """Saves a world to a directory, and brings it back from there.

    :param directory: made when it is not there.
    :param s3: a boto3 client.
    """

    def __init__(self, directory: Path, world: World, s3: Any) -> None:
        self._directory = directory
        self._world = world
        self._buckets = Buckets(directory, s3)

    def save(self) -> None:
        """Write the present state."""
        with self._world.lock:
            places = [_Place(bedrock.account, bedrock.region, bedrock.shelf) for bedrock in self._world.all()]
            content = msgspec.json.format(msgspec.json.encode(_Kept(VERSION, places)))
            weights = dict(self._world.weights)
        for arn, model in weights.items():
            if not (path := self._weights_path(arn)).exists():
                write_whole(path, model.save)
        write_whole(self._bedrock_path, lambda path: _write(path, content))
        for path in set(self._weights_path("").parent.glob("*.npz")) - {self._weights_path(arn) for arn in weights}:
            path.unlink()
        self._buckets.save()

    def restore(self) -> None:
        """Bring the kept state back. Jobs that were under way begin again.

        :raises StateError: the directory holds something else.
        """
        if self._bedrock_path.exists():
            for place in self._read().places:
                bedrock = self._world.bedrock(place.account, place.region)
                bedrock.shelf.__dict__.update(vars(place.shelf))
                self._world.weights.update({arn: LanguageModel.load(self._weights_path(arn)) for arn in bedrock.models})
                self._go_on(bedrock)
        self._buckets.restore()

    def _read(self) -> _Kept:
        try:
            kept = msgspec.json.decode(self._bedrock_path.read_bytes(), type=_Kept)
        except msgspec.MsgspecError as error:
            raise StateError(f"{self._bedrock_path} cannot be read: {error}. Move {self._directory} away.") from error
        if kept.version != VERSION:
            raise StateError(f"{self._bedrock_path} has version {kept.version}, not {VERSION}. Move it away.")
        return kept

    def _go_on(self, bedrock: Bedrock) -> None:
        runner = self._world.runner
        for job in bedrock.jobs.values():
            if job.active:
                _begin_again(job)
                # Not `changed` itself, which the service sets later than this.
                runner.add(job.arn, customize(bedrock, job, lambda: self._world.changed()))
        for deployment in bedrock.deployments.values():
            if deployment.mutating:
                work = deploy if deployment.status == "Creating" else update
                runner.add(deployment.arn, work(bedrock, deployment))

    @property
    def _bedrock_path(self) -> Path:
        return self._directory / "bedrock.json"

    def _weights_path(self, arn: str) -> Path:
        return self._directory / "models" / f"{arn.rpartition('/')[2]}.npz"


def _begin_again(job: Job) -> None:
    if job.status == "InProgress":
        job.phases = {name: Phase() for name in PHASES}
        job.progress = Progress()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
