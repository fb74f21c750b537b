"""Promote a challenger: put it behind the deployment that callers use, if it is newer than the champion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Asset, Context
from airflow.sdk.definitions.asset import AssetRef

from airflow_bedrock import customization, jobs, registry
from airflow_bedrock.compat import AirflowSkipException, outputs
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.links import JOB_LINKS, EvaluationReportLink
from airflow_bedrock.operators.arguments import MODEL_ARN, Rule, named, optional, text
from airflow_bedrock.operators.registry import RegistryOperator

if TYPE_CHECKING:
    from airflow_bedrock.registry.register import ModelVersion, Register


SMOKE_TEST = {"prompt": "Answer with one word.", "expect": r"\S"}


def _optional(value: Any) -> str | None:
    """Return a text; None if it is empty, or the None of a template that finds nothing."""
    return text(value) if value not in (None, "", "None") else None


def _smoke_test(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not value.get("prompt") or set(value) - {"prompt", "expect", "system"}:
        raise ValueError(
            "must be a mapping with the key prompt, and optionally expect (a regular expression) and system"
        )
    try:
        re.compile(value.get("expect", ""))
    except re.error as error:
        raise ValueError(f"must have a regular expression under expect: {error}") from error
    return {**SMOKE_TEST, **value}


class BedrockPromoteModelOperator(RegistryOperator):
    """Put a custom model behind a stable deployment, in place of the champion.

    The task writes its intent to the registry, makes the deployment serve the model (UpdateCustomModelDeployment, or a
    new deployment if botocore does not have that), runs the smoke test, and writes the result to the registry. If the
    model fails its smoke test, the champion is restored. If the task is killed at any point, one model serves, and the
    next try continues. The task is skipped if the champion's period is newer, if the champion is no longer the model
    that this one was compared with, or if this model was rolled back or has failed its smoke test before.

    Returns (XCom) a mapping: ``deployment_arn`` and ``model_arn`` of what serves, ``replaced``, the ARN of the model
    that served before, and ``period``. The task's outlets get the same as the extra of their asset events.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_UpdateCustomModelDeployment.html

    Every parameter is templated.

    :param model_arn: the challenger's ARN.
    :param period: the period of its data in ISO 8601, e.g. ``2026-03``; None if the models of the line have no order.
        Without a period, a model does not replace one that has a period.
    :param compared_with: the ARN of the model that the evaluation compared it with, or the id of the base model; None
        if it was not compared.
    :param smoke_test: ``prompt``, and optionally ``expect``, a regular expression that the answer must match somewhere,
        and ``system``.
    :param job_arn: the customization job that made the model, for the registry.
    :param dataset: the URI of its dataset's manifest, ``#`` and the digest, or one of the two, for the registry.
    :param evaluation: the URI of its evaluation, for the registry.
    :param approved_by: the approver of the promotion, for the registry and the model's tags.
    """

    operator_extra_links = (EvaluationReportLink(), *JOB_LINKS)
    rules: ClassVar[Mapping[str, Rule]] = {
        "model_arn": MODEL_ARN,
        "period": _optional,
        "compared_with": optional(named(text)),  # an empty one would skip the comparison
        "smoke_test": _smoke_test,
        "job_arn": _optional,
        "dataset": _optional,
        "evaluation": _optional,
        "approved_by": _optional,
    }
    template_fields: Sequence[str] = (*RegistryOperator.template_fields, *rules)

    def __init__(
        self,
        *,
        model_arn: str,
        period: str | None = None,
        compared_with: str | None = None,
        smoke_test: Mapping[str, str] | None = None,
        job_arn: str | None = None,
        dataset: str | None = None,
        evaluation: str | None = None,
        approved_by: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_arn = model_arn
        self.period = period
        self.compared_with = compared_with
        self.smoke_test = smoke_test if smoke_test is not None else SMOKE_TEST
        self.job_arn = job_arn
        self.dataset = dataset
        self.evaluation = evaluation
        self.approved_by = approved_by
        self._check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Promote the model, and return what serves.

        :raises AirflowSkipException: the champion stays, because it is newer, or is not the model that the challenger
            was compared with, or because the challenger was rejected before.
        :raises BedrockFatalError: the model failed its smoke test, or the service rejected a call.
        :raises BedrockError: another promotion is in progress, or a transient error occurred.
        """
        given = self._checked()
        if given["period"]:
            registry.register.start_of(given["period"])
        version = self._version(given, context)
        try:
            after = self.hook.promote(
                given["deployment_name"],
                version,
                compared_with=given["compared_with"],
                smoke_test=given["smoke_test"],
                delay=given["waiter_delay"],
                max_polls=given["waiter_max_attempts"],
            )
        except registry.register.NotPromotedError as error:
            raise AirflowSkipException(str(error)) from error
        return self._announced(context, after, version)

    def _version(self, given: Mapping[str, Any], context: Context) -> ModelVersion:
        ti: Any = context["ti"]
        known = ("model_arn", "period", "job_arn", "dataset", "evaluation", "approved_by")
        return registry.register.ModelVersion(
            **{name: given[name] for name in known},
            promoted_by=f"{ti.dag_id}.{ti.task_id} in run {ti.run_id}",
            approved_at=datetime.now(UTC) if given["approved_by"] else None,
        )

    def _announced(self, context: Context, after: Register, version: ModelVersion) -> dict[str, Any]:
        champion = after.champion
        if champion is None:  # the registry has one after each promotion
            raise BedrockFatalError(f"The registry names no champion of {after.name} after its promotion.")
        promoted = champion.promoted_by == version.promoted_by  # by this task; otherwise it served before
        result = {
            "deployment_arn": after.deployment_arn,
            "model_arn": champion.model_arn,
            "period": champion.period,
            "replaced": after.previous[0].model_arn if promoted and after.previous else None,
        }
        events: Any = context.get("outlet_events")  # it is empty, and so false, until an asset is accessed
        for outlet in self.outlets or ():
            if not isinstance(outlet, (Asset, AssetRef)):
                continue  # such as a file, for the lineage
            events[outlet].extra = {name: value for name, value in result.items() if value is not None}
        by = {"promoted_by": champion.promoted_by, "approved_by": champion.approved_by}
        page = customization.console.local_page(self.hook.conn.meta.endpoint_url)
        where = {"evaluation": champion.evaluation, "local_page": page}
        jobs.shown.push(context, jobs.shown.PROMOTION, {"name": after.name, **result, **by, **where})
        return outputs(result)
