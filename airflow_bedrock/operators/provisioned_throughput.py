"""Create provisioned throughput for a model once, change its model, and delete it. It is billed by the hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import customization, jobs, spend
from airflow_bedrock.exceptions import BedrockFatalError, kind_of
from airflow_bedrock.links import PaidResourceLink
from airflow_bedrock.operators.arguments import (
    NAME_TEXT,
    POLLS,
    Rule,
    flag,
    given,
    member,
    named,
    rendered,
    tags_rule,
    whole,
)
from airflow_bedrock.operators.base import BedrockOperator
from airflow_bedrock.operators.shared_resource import SharedResourceOperator
from airflow_bedrock.prices import dollars
from airflow_bedrock.uris import Arn

if TYPE_CHECKING:
    from airflow_bedrock.customization.identity import Identity, TaskKey
    from airflow_bedrock.customization.job import ResourceState

_CREATE = "CreateProvisionedModelThroughput"
_MODEL = member("bedrock", _CREATE, "modelId", "the id of a base model, or the ARN of a custom model")
_IDENTIFIER = member(
    "bedrock", "DeleteProvisionedModelThroughput", "provisionedModelId", "the ARN or the name of provisioned throughput"
)


def _model(value: Any) -> Any:
    """Accept an ARN or a base model's id: another custom model may get the same name later."""
    checked = _MODEL(value)
    if "." not in checked:
        raise ValueError("must be the id of a base model, or the ARN of a custom model")
    return checked


class BedrockProvisionedModelThroughputOperator(SharedResourceOperator):
    """Make provisioned throughput for a model, once, however often the task runs.

    Throughput that already has the name, the same model units and the same model is adopted. It is billed by the hour
    from Create until :class:`BedrockDeleteProvisionedModelThroughputOperator` deletes it, even if nobody calls it; the
    log has the bill so far. There is no commitment unless you set one.

    If a person ends the task, or ``execution_timeout`` runs out, before the throughput is in service, it is deleted,
    unless another task waits for it or somebody else has made it. Bedrock may refuse that until it is in service: then
    the deletion is retried for half an hour, and ``airflow-bedrock jobs --orphans`` finds what is left.

    Returns (XCom) its ARN, which Converse and InvokeModel take as ``modelId``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateProvisionedModelThroughput.html

    :param model_units: the number of model units, 1 or more. (templated)
    :param provisioned_model_name: 1 to 63 letters and digits, with single dashes or underscores between them.
        (templated)
    :param model_id: the id of a base model, or the ARN of a custom model. (templated)
    :param commitment_duration: ``OneMonth`` or ``SixMonths``: cheaper by the hour, but billed to its end, since the
        throughput cannot be deleted earlier. (default: none; templated)
    :param replace_model: if throughput of that name serves another model, change it to this one: its ARN stays, and the
        former model answers until the change. (default: fail)
    """

    kind = "airflow_bedrock.jobs.resources.provisioned_throughput:PROVISIONED_THROUGHPUT"
    rules: ClassVar[Mapping[str, Rule]] = {
        "model_units": rendered(whole(1)),
        "provisioned_model_name": named(member("bedrock", _CREATE, "provisionedModelName", NAME_TEXT)),
        "model_id": named(_model),
        "commitment_duration": given(member("bedrock", _CREATE, "commitmentDuration", "OneMonth or SixMonths")),
        "tags": tags_rule(_CREATE, "tags"),
        "replace_model": flag,
    }
    template_fields: Sequence[str] = (*SharedResourceOperator.template_fields, *rules)
    operator_extra_links = (PaidResourceLink(),)

    def __init__(
        self,
        *,
        model_units: int | str,
        provisioned_model_name: str,
        model_id: str,
        commitment_duration: str | None = None,
        replace_model: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_units = model_units
        self.provisioned_model_name = provisioned_model_name
        self.model_id = model_id
        self.commitment_duration = commitment_duration
        self.replace_model = replace_model
        self._check_literals()

    def _identity(self, task_key: TaskKey, request: Mapping[str, Any] | None = None) -> Identity:
        members = {"provisionedModelName": self.provisioned_model_name, "modelId": self.model_id}
        # As for a deployment: the name is part of the request, and each Clear is a new ask.
        return customization.identity.identify(
            members, [members], task_key, "dag", exact=True, name="provisionedModelName", model_name=None
        )

    def _request(self, arguments: Mapping[str, Any], task_key: TaskKey) -> dict[str, Any]:
        if warning := customization.model_rules.life_warning(self.model_id):
            self.log.warning(warning)
        commitment = arguments["commitment_duration"]
        return {
            "provisionedModelName": self.provisioned_model_name,
            "modelId": self.model_id,
            "modelUnits": arguments["model_units"],
            **({"commitmentDuration": commitment} if commitment else {}),
            "tags": self._tagged(arguments["tags"], task_key),
        }

    def _ask(self, context: Context, arguments: Mapping[str, Any], **how: Any) -> jobs.submission.Submission:
        return super()._ask(context, arguments, update=arguments["replace_model"], **how)

    def _cost(self, arguments: Mapping[str, Any]) -> spend.ledger.Cost:
        """Return its maximum cost until the end of the month: it is billed until somebody deletes it."""
        from airflow_bedrock.prices import MODEL_UNITS, NoPriceError  # here, since a DAG file does not need it

        figure = MODEL_UNITS[arguments["commitment_duration"]]
        units, now = arguments["model_units"], datetime.now(UTC)
        try:
            price = spend.pricing.known_prices().price(self.model_id, figure, self.hook.conn_region_name)
        except (NoPriceError, BedrockFatalError) as error:
            return spend.ledger.Cost(usd=None, model=self.model_id, unknown=str(error))
        hours = -(-int((spend.ledger.next_month(now) - now).total_seconds()) // 3600)
        return spend.ledger.Cost(usd=price.cost(hours * units), model=price.model, rates={"hour": price.cost(units)})

    def _result(self, found: Any, context: Context) -> Any:
        if not jobs.provisioned_throughput.is_model(found.model, self.model_id):
            raise BedrockFatalError(
                f"Provisioned throughput {found.arn} serves another model, and {self._resource.billed}: it could not "
                f"be changed to {self.model_id}, or somebody has changed it since. Check it in the AWS console, and "
                "clear this task to try again."
            )
        self.log.info("Provisioned throughput %s is in service. %s", found.arn, bill(found))
        return found.arn


class BedrockDeleteProvisionedModelThroughputOperator(BedrockOperator):
    """Delete provisioned throughput, and wait until it is gone. If it does not exist, the task succeeds.

    The model behind it stays, and is billed for its storage until it is deleted. The log says what the throughput has
    cost. Make it the teardown of the task that makes the throughput, so that it runs even if the tasks between fail.

    Returns (XCom) ``{"hours": …, "model_units": …, "usd": …}``: what was billed, without discounts; ``usd`` is None
    if the price is unknown. None if there was nothing to delete.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_DeleteProvisionedModelThroughput.html

    :param provisioned_model_id: the throughput's ARN or name. Throughput named None needs its ARN, since a template
        that finds nothing renders None. (templated)
    :param waiter_delay: seconds between two tries or polls, more than 0.
    :param waiter_max_attempts: maximum number of polls, at least 1, until it can be deleted, and as many until it is
        gone.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"provisioned_model_id": named(_IDENTIFIER), **POLLS}
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, "provisioned_model_id")

    def __init__(
        self,
        *,
        provisioned_model_id: str,
        waiter_delay: float = 30,
        waiter_max_attempts: int = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.provisioned_model_id = provisioned_model_id
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self._check_literals()

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Delete the throughput, and return what it has cost.

        :raises BedrockFatalError: it is committed, or the service rejected it.
        :raises BedrockError: it was not deleted in time, or a transient error occurred.
        """
        self._checked()
        service = jobs.service.Service(jobs.provisioned_throughput.PROVISIONED_THROUGHPUT, self.hook)
        try:
            found: Any = service.get(self.provisioned_model_id)
        except jobs.aws_errors.CALL_ERRORS as error:
            raise kind_of(error)(
                f"Provisioned throughput {self.provisioned_model_id} was not deleted, and is still billed: {error}"
            ) from error
        if found is None:
            self.log.info("Provisioned throughput %s does not exist: nothing to delete", self.provisioned_model_id)
            return None
        now = datetime.now(UTC)
        if found.committed_until and found.committed_until > now:
            raise BedrockFatalError(
                f"Provisioned throughput {found.arn} cannot be deleted before its commitment ends, at "
                f"{found.committed_until:%Y-%m-%d %H:%M %Z}: it is billed until then. {bill(found)} Clear "
                "this task afterwards."
            )
        jobs.stopping.delete(service, found.arn, delay=self.waiter_delay, max_polls=self.waiter_max_attempts)
        self.log.info("%s", bill(found))
        cost = _cost(found, datetime.now(UTC))
        hours = round(found.hours(datetime.now(UTC)), 2)
        if cost:
            spend.settling.settled(service, found, self._s3, spend.bill.Bill(cost[0], f"{hours} hours"))
        return {"hours": hours, "model_units": found.units, "usd": cost and float(round(cost[0], 2))}


def bill(found: Any) -> str:
    """Describe the bill of throughput so far: the hours, and their cost if the price is known."""
    now = datetime.now(UTC)
    units = "1 model unit" if found.units == 1 else f"{found.units} model units"
    usage = f"{units} for {found.hours(now):.1f} h so far"
    if (cost := _cost(found, now)) is None:
        return f"Billed: {usage}; no price is known for it (docs/cost.md says how to set one)."
    return f"Billed: {usage}, {dollars(cost[0])} USD at {cost[1]}."


def _cost(found: ResourceState, now: datetime) -> tuple[Decimal, object] | None:
    """Return the cost of throughput in US dollars, and the price; None if unknown."""
    from airflow_bedrock.prices import MODEL_UNITS

    try:
        figure = MODEL_UNITS[found.commitment]
        price = spend.pricing.known_prices().find(found.base_model, figure, Arn.of(found.arn).region)
    except (BedrockFatalError, KeyError):
        return None
    hours = Decimal(str(found.hours(now) * found.units))
    return (price.cost(hours), price) if price else None
