"""A line of models whose tasks each run in a process of their own, in the world of ``world.py``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.tags import automatic_tags
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.registry.promotion import Promoter, SmokeTestError
from airflow_bedrock.registry.register import ModelVersion, Register
from airflow_bedrock.registry.retirement import Keep, Plan, Retirer
from airflow_bedrock.registry.serving import Deployments
from airflow_bedrock.registry.store import RegisterStore
from tests.unit.registry.world import World

NAME = "router"
BAD = "bad"  # in the ARN of a model that fails its smoke test
START = datetime(2026, 1, 1, tzinfo=UTC)


def tags(dag_id: str = "retrain", environment: str = "test") -> dict[str, str]:
    return automatic_tags(TaskKey(dag_id=dag_id, task_id="customize", run_id="run", environment=environment), "0")


def model_name(number: int) -> str:
    """A name as the customization operator makes it."""
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    return f"{NAME}-aaaaaaaa{digits[number // 32 % 32]}{digits[number % 32]}-aaaaaaaa"


class Line:
    """A line of models, whose promotions each run in a process of their own."""

    def __init__(self, *, in_place: bool) -> None:
        self.world = World(in_place=in_place)
        self.minutes = count()
        self.folder = "registry"
        self.is_denied = False  # the smoke test may not call the model

    def now(self) -> datetime:
        return START + timedelta(minutes=next(self.minutes))

    def promoter(self) -> Promoter:
        return Promoter(
            store=self._store(),
            deployments=self.deployments(),
            smoke_test=self._smoke_test,
            now=self.now,
        )

    def train(self, model: str, **given: Any) -> None:
        """Let there be a model; the same again changes nothing."""
        if model not in self.world.tags:
            name = model_name(len(self.world.tags))
            self.world.add_model(model, **{"name": name, "created": self.now(), "tags": tags(), **given})

    def promote(self, model: str, period: int, run: str = "run", compared_with: str | None = None) -> Register:
        self.train(model)
        version = ModelVersion(model_arn=model, period=f"{2000 + period}", promoted_by=run)
        return self.promoter().promote(NAME, version, compared_with)

    def retirer(self, keep: Keep | None = None) -> Retirer:
        return Retirer(
            store=self._store(),
            hook=self.world.hook(),
            deployments=self.deployments(),
            environment="test",
            dag_id="retrain",
            model_name=NAME,
            keep=keep or Keep(last=0, younger_than=timedelta(0)),
            now=self.now,
        )

    def retire(self, **keep: Any) -> Plan:
        return self.retirer(Keep(**{"last": 0, "younger_than": timedelta(0), **keep})).retire(NAME)

    @property
    def register(self) -> Register:
        return msgspec.json.decode(self.world.objects[f"{self.folder}/{NAME}.json"][1], type=Register)

    @property
    def serving(self) -> str:
        arn = self.register.deployment_arn
        return self.world.model_of(arn or NAME)

    def _store(self) -> RegisterStore:
        world: Any = self.world
        return RegisterStore(f"s3://bucket/{self.folder}", lambda: world)

    def deployments(self) -> Deployments:
        return Deployments(self.world.service(), delay=0, max_polls=3)

    def _smoke_test(self, deployment_arn: str) -> None:
        if self.is_denied:
            raise BedrockFatalError("Allow bedrock:InvokeModel on it.")
        if BAD in self.world.model_of(deployment_arn):
            raise SmokeTestError("Its answer was empty.")
