"""Find resources that cost money unused: throughput, deployments and imports without calls, and unserved models.

It also finds models in service whose base model is Legacy: after its end of life neither can be called.

Amazon CloudWatch says whether something was called: ``Invocations`` of ``AWS/Bedrock``, by ``ModelId``.
https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from airflow_bedrock.base_models import base_model
from airflow_bedrock.exceptions import explained
from airflow_bedrock.jobs.account import client_of
from airflow_bedrock.jobs.resources import reads
from airflow_bedrock.jobs.resources.created_model import CREATED_MODEL
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.jobs.resources.provisioned_throughput import PROVISIONED_THROUGHPUT
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.prices import HOURS_A_MONTH, MODEL_UNITS
from airflow_bedrock.spend.imported import rates_of, units_of

if TYPE_CHECKING:
    from airflow_bedrock.customization.job import ResourceState
    from airflow_bedrock.hooks.bedrock import BedrockHook
    from airflow_bedrock.prices import Price, Prices

_ALLOW = "Allow the task to list models, deployments and provisioned throughput, and to call cloudwatch:GetMetricData."
_QUERIES = 500  # maximum number in one GetMetricData
_read_import = reads({}, arn="modelArn", name="modelName", created="creationTime")


def report(hooks: Sequence[BedrockHook], prices: Prices, now: datetime, *, days: int) -> dict[str, Any]:
    """Return what was unused in each region for ``days``, and models in service whose base model is Legacy.

    Custom Model Import is not available in every region: an error in listing its models does not stop the check.

    :param hooks: a hook for each region.
    :param days: minimum age in days of the resources to check.
    :return: the result of :class:`~airflow_bedrock.operators.BedrockIdleCostOperator`.
    :raises BedrockError: Bedrock or CloudWatch did not respond.
    """
    idle: list[dict[str, Any]] = []
    ending: list[dict[str, Any]] = []
    unread: list[str] = []
    for hook in hooks:
        with explained(f"check what is idle in {hook.conn_region_name}", _ALLOW):
            region = _Region(hook, prices, days, now)
            idle += region.idle()
            ending += region.ending()
            unread += region.unread
    idle.sort(key=lambda one: (-(one["usd_a_month"] or 0), one["name"]))
    return {
        "idle": idle,
        "usd_a_month": math.fsum(one["usd_a_month"] or 0 for one in idle),
        "without_price": [one["arn"] for one in idle if one["usd_a_month"] is None],
        "ending": sorted(ending, key=lambda one: (one["ends"], one["name"])),
        "unread": unread,
    }


class _Region:
    """The resources in a region, listed once."""

    def __init__(self, hook: BedrockHook, prices: Prices, days: int, now: datetime) -> None:
        self._hook, self._prices, self._days, self._now = hook, prices, days, now
        self._region = hook.conn_region_name
        self._throughputs: list[Any] = Service(PROVISIONED_THROUGHPUT, hook).list_all()
        self._deployments: list[Any] = Service(DEPLOYMENT, hook).list_all()
        self._models: list[Any] = Service(CREATED_MODEL, hook).list_all(isOwned=True)
        self._imported: list[Any] = []
        self.unread: list[str] = []
        try:
            pages = hook.conn.get_paginator("list_imported_models").paginate()
            self._imported = [_read_import(one) for page in pages for one in page["modelSummaries"]]
        except ClientError as error:
            self.unread.append(f"Imported models in {self._region} were not checked: {error}")

    def idle(self) -> Iterator[dict[str, Any]]:
        serving = (*self._throughputs, *self._deployments)
        served = {arn for one in serving for arn in (one.model, one.desired_model)}
        old = [one for one in (*serving, *self._imported) if self._old(one.created)]
        calls = self._calls(one.arn for one in old)
        uncalled = {one.arn for one in old if not calls[one.arn]}
        yield from (self._throughput(one) for one in self._throughputs if one.arn in uncalled)
        yield from (self._deployment(one) for one in self._deployments if one.arn in uncalled)
        yield from (self._import(one) for one in self._imported if one.arn in uncalled)
        yield from (self._model(one) for one in self._models if one.arn not in served and self._old(one.created))

    def ending(self) -> Iterator[dict[str, Any]]:
        for resource, listed in ((DEPLOYMENT, self._deployments), (PROVISIONED_THROUGHPUT, self._throughputs)):
            for one in listed:
                base = base_model(one.model)
                if base is None or base.ends is None or not base.is_legacy(self._now.date()):
                    continue
                yield {
                    "kind": resource.noun,
                    "name": one.name,
                    "arn": one.arn,
                    "model_arn": one.model,
                    "region": self._region,
                    "base": base.name,
                    "ends": base.ends.isoformat(),
                }

    def _throughput(self, one: ResourceState) -> dict[str, Any]:
        until, figure = one.committed_until, MODEL_UNITS.get(one.commitment)
        return self._idle(
            "provisioned throughput",
            one,
            f"{one.units} model units, not called for {self._days} days",
            self._prices.find(one.base_model, figure, self._region) if figure else None,
            HOURS_A_MONTH * one.units,
            f"It cannot be deleted before {until:%Y-%m-%d}." if until else "Delete it, if nobody needs it.",
        )

    def _deployment(self, one: ResourceState) -> dict[str, Any]:
        return self._idle(
            "deployment",
            one,
            f"not called for {self._days} days; it costs nothing itself, but its model is billed for storage",
            None,
            0,
            "Delete it, and its model, if nobody needs them.",
        )

    def _model(self, one: ResourceState) -> dict[str, Any]:
        return self._idle(
            "custom model",
            one,
            "nothing serves it",
            self._prices.find(one.base_model, "storage", self._region),
            1,
            "Retire it, if no rollback needs it (BedrockRetireModelsOperator).",
        )

    def _import(self, one: ResourceState) -> dict[str, Any]:
        rates = rates_of(units_of(self._hook.conn, one.arn), self._prices, self._region)
        return self._idle(
            "imported model",
            one,
            f"not called for {self._days} days; {rates.answering}",
            rates.storage if rates.units is not None else None,
            rates.units or 1,
            "Delete it (DeleteImportedModel), if nobody needs it.",
        )

    def _idle(self, kind: str, one: Any, why: str, price: Price | None, units: int, advice: str) -> dict[str, Any]:
        usd = float(price.cost(units)) if price else (None if units else 0.0)
        return {
            "kind": kind,
            "name": one.name,
            "arn": one.arn,
            "region": self._region,
            "created": one.created.isoformat(),
            "why": why,
            "usd_a_month": usd,
            "price": str(price) if price else ("no price is known" if units else ""),
            "advice": advice,
        }

    def _old(self, created: datetime) -> bool:
        return self._now - created >= timedelta(days=self._days)

    def _calls(self, arns: Iterable[str]) -> dict[str, float]:
        """Return how often each was called: by its ARN, or by the id at its end if CloudWatch uses that."""
        calls = dict.fromkeys(arns, 0.0)
        ids = [(arn, model_id) for arn in calls for model_id in (arn, arn.rpartition("/")[2])]
        with closing(client_of(self._hook, "cloudwatch")) as client:
            for start in range(0, len(ids), _QUERIES):
                chunk = ids[start : start + _QUERIES]
                queries = [_query(number, model_id) for number, (_, model_id) in enumerate(chunk)]
                pages = client.get_paginator("get_metric_data").paginate(
                    MetricDataQueries=queries, StartTime=self._now - timedelta(days=self._days), EndTime=self._now
                )
                for result in (result for page in pages for result in page["MetricDataResults"]):
                    calls[chunk[int(result["Id"][1:])][0]] += sum(result["Values"])
        return calls


def _query(number: int, model_id: str) -> dict[str, Any]:
    metric = {
        "Namespace": "AWS/Bedrock",
        "MetricName": "Invocations",
        "Dimensions": [{"Name": "ModelId", "Value": model_id}],
    }
    return {"Id": f"m{number}", "MetricStat": {"Metric": metric, "Period": 86400, "Stat": "Sum"}}
