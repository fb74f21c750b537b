"""Retire models: find those of a line that are no longer needed, what they cost, and delete them in a safe order.

:func:`planned` is pure. A deletion is first written to the register, with If-Match, so that no promotion or rollback
chooses a model that is being deleted. The service itself refuses to delete a model that is in use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow_bedrock.customization.identity import is_named_after
from airflow_bedrock.customization.job import NO_STATUS
from airflow_bedrock.customization.tags import is_of_dag
from airflow_bedrock.exceptions import BedrockError, explained
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import stopping
from airflow_bedrock.jobs.resources import Resource
from airflow_bedrock.jobs.resources.created_model import CREATED_MODEL
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.jobs.resources.provisioned_throughput import PROVISIONED_THROUGHPUT
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.prices import HOURS_A_MONTH, Prices
from airflow_bedrock.registry import register as registers
from airflow_bedrock.registry.register import Register
from airflow_bedrock.registry.serving import Deployments, name_for
from airflow_bedrock.registry.store import RegisterStore

log = logging.getLogger(__name__)

PIN = "airflow-bedrock/keep"
"""The tag, with any value, that keeps a model."""

CANDIDATE_UNTIL = "airflow-bedrock/candidate-until"
"""The tag with which the gate keeps a model while a person is asked about it; its value is a time in ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """A deployment, or provisioned throughput, that refers to a model.

    :param own: whether this DAG or this registry made it for the model, so that it is deleted with the model.
    """

    resource: Resource
    found: Any
    own: bool


@dataclass(frozen=True, kw_only=True)
class Model:
    """A custom model of the line, and its uses."""

    arn: str
    name: str
    base_model_arn: str
    created: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    uses: Sequence[Use] = ()


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What to keep besides the champion and the promotion in progress.

    :param last: number of the newest models.
    :param younger_than: keep models younger than this, or with a deployment younger than this: a run may be evaluating
        them.
    """

    last: int = 3
    younger_than: timedelta = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The models to delete, and the models to keep with the reasons."""

    retired: Sequence[Model]
    kept: Mapping[str, str]

    def savings(self, prices: Prices, region: str) -> tuple[Decimal, list[str]]:
        """Return the monthly savings in US dollars, and the items without a known price."""
        total, unknown = Decimal(0), []
        for model in self.retired:
            units = sum(use.found.units for use in model.uses)
            for figure, quantity in (("storage", 1), ("model_unit", units * HOURS_A_MONTH)):
                if quantity == 0:
                    continue
                if price := prices.find(model.base_model_arn, figure, region):  # type: ignore[arg-type]  # two of them
                    total += price.cost(quantity)
                else:
                    unknown.append(f"{figure} of {model.name}")
        return total, unknown


def planned(
    register: Register, serving: str | None, models: Sequence[Model], keep: Keep, now: datetime, others: Sequence[str]
) -> Plan:
    """Return the plan; a model in doubt is kept.

    :param serving: the ARN of the model that the line's deployment serves.
    :param models: the models of the line.
    :param others: ARNs of the models that other lines need.
    """
    newest = sorted(models, key=lambda model: model.created, reverse=True)[: keep.last]
    needed = registers.kept(register)

    def reason(model: Model) -> str | None:
        if register.champion is None:
            return f"no model has been promoted to {register.name} yet"
        if model.arn == serving:
            return "it serves"
        if model.arn in needed:
            return "it is the champion, or is being promoted, or a rollback needs it"
        if model.arn in others:
            return "another line needs it"
        if PIN in model.tags:
            return f"it has the tag {PIN}"
        if _is_candidate(model, now):
            return f"a person was asked to approve it: it has the tag {CANDIDATE_UNTIL}={model.tags[CANDIDATE_UNTIL]}"
        if (use := next(_keeping(model, register, keep, now), None)) is not None:
            return use
        if model.arn in register.retired:
            return None  # an earlier retirement was killed
        if model in newest:
            return f"it is one of the last {keep.last}"
        return f"it is younger than {keep.younger_than}" if _young(model.created, keep, now) else None

    kept = {model.arn: why for model in models if (why := reason(model))}
    return Plan(retired=[model for model in models if model.arn not in kept], kept=kept)


def _is_candidate(model: Model, now: datetime) -> bool:
    try:
        return CANDIDATE_UNTIL in model.tags and datetime.fromisoformat(model.tags[CANDIDATE_UNTIL]) > now
    except (TypeError, ValueError):  # no time, or one without a zone: a model in doubt is kept
        return True


def _keeping(model: Model, register: Register, keep: Keep, now: datetime) -> Iterator[str]:
    """Yield the reasons why uses of a model keep it."""
    for use in model.uses:
        found, what = use.found, f"{use.resource.kind} {use.found.name}"
        if not use.own or found.arn == register.deployment_arn or found.name == register.name:
            yield f"{what} uses it"
        elif found.committed_until and found.committed_until > now:
            yield f"{what} is committed until {found.committed_until:%Y-%m-%d}"
        elif _young(found.created, keep, now):
            yield f"{what} is younger than {keep.younger_than}: a run may be using it"


def _young(created: datetime, keep: Keep, now: datetime) -> bool:
    return now - created < keep.younger_than


@dataclass(frozen=True, kw_only=True)
class Retirer:
    """Finds the models of a line, and deletes those that nobody needs.

    :param environment: the name of this deployment of Airflow; models of others are ignored.
    :param dag_id: the DAG of the models; models of other DAGs are ignored.
    :param model_name: the prefix of the models' names: ``custom_model_name`` of the customization task.
    """

    store: RegisterStore
    hook: BedrockHook
    deployments: Deployments
    environment: str
    dag_id: str
    model_name: str
    keep: Keep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def plan(self, name: str) -> tuple[Plan, Register, str | None]:
        """Return the plan, and the register and its ETag on which it is based; nothing is changed.

        :raises BedrockError: a read failed.
        """
        register, etag = self.store.read(name)
        with explained(f"read the models and deployments of {name}"):
            models = list(self._models(name))
        others = [
            arn for other in self.store.names() if other != name for arn in registers.kept(self.store.read(other)[0])
        ]
        serving = self.deployments.serving(register)
        return planned(register, serving, models, self.keep, self.now(), others), register, etag

    def retire(self, name: str) -> Plan:
        """Delete the models that nobody needs, after their deployments and provisioned throughput. Return the plan.

        :raises BedrockError: the register has changed, and nothing was deleted; or some models could not be deleted.
        """
        plan, register, etag = self.plan(name)
        if not plan.retired:
            return plan
        intent = registers.retired(register, (model.arn for model in plan.retired))
        if intent != register:
            self.store.write(intent, etag)
        failures = []
        for model in plan.retired:
            try:
                self._delete(model)
            except BedrockError as error:
                log.warning("%s", error)
                failures.append(str(error))
        if failures:
            raise BedrockError(
                f"{len(failures)} of {len(plan.retired)} models were not deleted, and are still billed; a retry "
                f"continues: {' '.join(failures)}"
            )
        return plan

    def _delete(self, model: Model) -> None:
        for use in model.uses:
            service = Service(use.resource, self.hook)
            stopping.delete(service, use.found.arn, delay=self.deployments.delay, max_polls=self.deployments.max_polls)
        with explained(f"delete custom model {model.arn}"):
            Service(CREATED_MODEL, self.hook).delete(model.arn)
        log.info("Retired custom model %s; its storage is no longer billed", model.arn)

    def _models(self, name: str) -> Iterator[Model]:
        found: list[Any] = [
            one
            for one in Service(CREATED_MODEL, self.hook).list_all(isOwned=True)
            if one.status in ("Active", NO_STATUS) and is_named_after(one.name, self.model_name)
        ]
        users: list[tuple[Resource, Any]] = [
            (resource, user)
            for resource in (DEPLOYMENT, PROVISIONED_THROUGHPUT)
            for user in (Service(resource, self.hook).list_all() if found else ())
        ]
        for one in found:
            tags = self.hook.tags_of(one.arn)
            if not self._is_own(tags):
                continue
            uses = [
                Use(
                    resource=resource,
                    found=user,
                    own=user.name == one.name
                    or (resource is DEPLOYMENT and user.name == name_for(name, one.arn))
                    or self._is_own(self.hook.tags_of(user.arn)),
                )
                for resource, user in users
                if one.arn in (user.model, user.desired_model)
            ]
            yield Model(
                arn=one.arn, name=one.name, base_model_arn=one.base_model, created=one.created, tags=tags, uses=uses
            )

    def _is_own(self, tags: Mapping[str, str]) -> bool:
        return is_of_dag(tags, self.environment, self.dag_id)
