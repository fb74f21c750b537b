"""Report unused resources that cost money, and models in service whose base model is Legacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import customization, hooks, jobs, spend
from airflow_bedrock.operators.arguments import Rule, optional, rendered, whole
from airflow_bedrock.operators.base import BedrockOperator, Notifiers, listed
from airflow_bedrock.prices import dollars


def _regions(value: Any) -> list[str]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(one, str) and one for one in given):
        raise ValueError("must be a region or a list of regions")
    return list(given)


class BedrockIdleCostOperator(BedrockOperator):
    """Report unused resources that cost money or keep a model; nothing is changed.

    These are provisioned throughput, deployments and imported models without calls, and custom models without a
    deployment or throughput. The calls are Amazon CloudWatch's metric ``Invocations``. Resources younger than ``days``
    are not checked. It also reports models in service whose base model is Legacy: after its end of life, neither can
    be called.

    Returns (XCom) a mapping: ``idle``: each ``{kind, name, arn, region, created, why, usd_a_month, price, advice}``,
    the most expensive first; ``usd_a_month``: their sum; ``without_price``: the ARNs of those without a known price;
    ``ending``: each ``{kind, name, arn, model_arn, region, base, ends}``, the nearest first; ``unread``: what was not
    checked, and why.

    If something is found, each notifier is called with ``idle_cost``, that mapping, and ``idle_cost_text``, the report
    as text, in its context: ``SlackNotifier(text="{{ idle_cost_text }}")``.

    It needs bedrock:ListProvisionedModelThroughputs, ListCustomModelDeployments and ListCustomModels, and
    cloudwatch:GetMetricData; for imported models, ListImportedModels and GetImportedModel.

    https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring.html

    Every parameter except ``notifiers`` is templated.

    :param regions: a region or several. (default: that of the connection)
    :param days: number of days without a call after which a resource counts as idle.
    :param notifiers: Airflow notifiers that are called if something is idle or on a Legacy base model.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "regions": optional(_regions),
        "days": rendered(whole(1)),
    }
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, *rules)

    def __init__(
        self,
        *,
        regions: str | Sequence[str] | None = None,
        days: int | str = 14,
        notifiers: Notifiers = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.regions = regions
        self.days = days
        self.notifiers = listed(notifiers)
        self._check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the report, log it, and notify.

        :raises BedrockFatalError: access was denied.
        :raises BedrockError: Bedrock or CloudWatch did not respond.
        """
        given, known = self._checked(), spend.pricing.known_prices()
        of_regions = [
            hooks.BedrockHook(**{**self._hook_parameters, "region_name": region})
            for region in given["regions"] or [self.region_name]
        ]
        result = spend.idle.report(of_regions, known, datetime.now(UTC), days=given["days"])
        jobs.shown.push(context, jobs.shown.IDLE, {name: result[name] for name in ("usd_a_month", "idle")})
        described = text(result)
        self.log.info("%s", described)
        if result["idle"] or result["ending"]:
            more: Any = {**context, "idle_cost": result, "idle_cost_text": described}
            for notifier in self.notifiers:
                notifier(more)
        return result


def text(result: Mapping[str, Any]) -> str:
    """Return the report as text."""
    lines = [
        (
            f"- {one['kind']} {one['name']} in {one['region']} cannot be called as of {one['ends']}: its base model "
            f"{one['base']} reaches its end of life. Train a model on another base model. "
            f"{customization.console.resource_url(one['model_arn'])}"
        ).rstrip()
        for one in result["ending"]
    ]
    lines += [f"- {sentence}" for sentence in result["unread"]]
    if not result["idle"]:
        return "\n".join(["No unused resource costs money.", *lines])
    unknown = len(result["without_price"])
    besides = f", plus {unknown} without a known price" if unknown else ""
    unused = [f"Unused: {dollars(result['usd_a_month'])} USD a month{besides}.", *map(_line, result["idle"])]
    return "\n".join([*unused, *lines])


def _line(one: Mapping[str, Any]) -> str:
    usd = "an unknown sum" if one["usd_a_month"] is None else f"{dollars(one['usd_a_month'])} USD"
    price = f" at {one['price']}" if one["price"] else ""
    return f"- {one['kind']} {one['name']} in {one['region']}: {usd} a month{price}. {one['why']}. {one['advice']}"
