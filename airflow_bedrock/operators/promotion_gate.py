"""The gate before a promotion: a rule on the evaluation's report, and where wanted a person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_bedrock import configuration
from airflow_bedrock.compat import AirflowSkipException, outputs
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, named, optional, real, rendered, text
from airflow_bedrock.operators.base import AwsOperator
from airflow_bedrock.storage import Storage
from airflow_bedrock.uris import file_uri

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bedrock.hooks import BedrockHook  # noqa: F401 - for the class's type
    from airflow_bedrock.registry.gate import PromotionRule

APPROVE, REJECT = "Approve", "Reject"


def _approvers(value: Any) -> list[dict[str, str]]:
    """Take ids of users, or mappings with ``id`` and ``name``."""
    given = [value] if isinstance(value, (str, Mapping)) else list(value)
    users = [{"id": one, "name": one} if isinstance(one, str) else dict(one) for one in given]
    if not all(set(user) == {"id", "name"} and all(user.values()) for user in users):
        raise ValueError("must be ids of Airflow's users, or mappings with id and name")
    return users


def _decision(value: Any) -> str:
    if value not in (APPROVE, REJECT):
        raise ValueError(f"must be {APPROVE} or {REJECT}")
    return str(value)


_RULES: Mapping[str, Rule] = {
    "report_uri": named(file_uri),
    "metric": optional(text),
    "minimum_gain": rendered(real(0)),
    "max_slice_loss": optional(rendered(real(0))),
    "max_latency_ms": optional(rendered(real(0))),
    "max_cost": optional(rendered(real(0))),
    "base_model_id": optional(named(text)),
    "approvers": _approvers,
    "approval_timeout": real(0, between=True),
    "on_timeout": _decision,
}


class BedrockPromotionGate(AwsOperator["BedrockHook"]):
    """Let a challenger pass by the report of its evaluation; where wanted, a person decides then.

    What the rule asks for and the report does not say is a reason against the promotion, as is a price that is not
    known. A challenger that does not pass is no error: the task is skipped, and what follows with it.

    With ``ask_approval``, Airflow asks a person (3.1 and later: Required Actions in the UI, with the report's figures);
    who is not among ``approvers`` cannot answer, and nobody in time is ``on_timeout``. On Airflow before 3.1 such a
    gate fails when the DAG is parsed.

    Returns (XCom) a mapping: ``approved_by``, the person's name or None, and ``report_uri``.

    :param report_uri: ``report.json`` of :class:`~airflow_bedrock.operators.BedrockModelEvaluationOperator`:
        ``evaluate.output["report_uri"]``. (templated)
    :param metric: whose difference counts; None takes the one that the evaluation decided by.
    :param minimum_gain: the whole interval of the difference lies above it. (templated)
    :param max_slice_loss: by how much the candidate may be worse on any slice. (templated)
    :param max_latency_ms: milliseconds in which the service gave 9 of 10 of the candidate's answers. (templated)
    :param max_cost: US dollars for 1,000 answers of the candidate, by the evaluation's tokens and the price of custom
        models of ``base_model_id`` on demand. (templated)
    :param base_model_id: the candidate's base model; needed for ``max_cost``. (templated)
    :param ask_approval: ask a person after the rule.
    :param approvers: who may answer: ids of Airflow's users, or mappings with ``id`` and ``name``; empty for all who
        may edit the DAG's runs. (templated)
    :param approval_timeout: seconds to wait for an answer.
    :param on_timeout: ``Reject`` or ``Approve``, where nobody has answered in time.
    :param notifiers: Airflow notifiers that are called when the question is asked.
    :param multiple_outputs: push each value of the mapping as an XCom of its own too. (default: True)
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    aws_hook_class = "airflow_bedrock.hooks:BedrockHook"
    template_fields: Sequence[str] = (
        *AwsOperator.template_fields,
        "report_uri",
        "minimum_gain",
        "max_slice_loss",
        "max_latency_ms",
        "max_cost",
        "base_model_id",
        "approvers",
    )

    def __init__(
        self,
        *,
        report_uri: str,
        metric: str | None = None,
        minimum_gain: float | str = 0.0,
        max_slice_loss: float | str | None = None,
        max_latency_ms: float | str | None = None,
        max_cost: float | str | None = None,
        base_model_id: str | None = None,
        ask_approval: bool = False,
        approvers: Sequence[str | Mapping[str, str]] = (),
        approval_timeout: float = 3 * 24 * 60 * 60,
        on_timeout: str = REJECT,
        notifiers: Sequence[Any] = (),
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.report_uri = report_uri
        self.metric = metric
        self.minimum_gain = minimum_gain
        self.max_slice_loss = max_slice_loss
        self.max_latency_ms = max_latency_ms
        self.max_cost = max_cost
        self.base_model_id = base_model_id
        self.ask_approval = ask_approval
        self.approvers = approvers
        self.approval_timeout = approval_timeout
        self.on_timeout = on_timeout
        self.notifiers = notifiers
        self._arguments(_RULES, _conflicts).check_literals()
        if ask_approval and not can_ask():
            raise ValueError(
                f"Task {self.task_id} cannot ask a person: that needs Airflow 3.1 or later. Set ask_approval=False, or "
                "upgrade Airflow."
            )

    def execute(self, context: Context) -> dict[str, Any]:
        """Apply the rule, and ask the person if wanted.

        :raises AirflowSkipException: the challenger does not pass; the message says why.
        :raises BedrockFatalError: the report cannot be read.
        """
        given = self._arguments(_RULES, _conflicts).checked()
        report = self._report()
        if reasons := self._rule(given).reasons_against(report, lambda *tokens: self._cost(given, *tokens)):
            raise AirflowSkipException(f"The candidate is not promoted: {'; '.join(reasons)}")
        self.log.info("The candidate passes: %s", report.get("reason"))
        if self.ask_approval:
            self._ask(context, given, report)  # which ends this try; execute_complete goes on
        return self._passed(None)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take up the person's answer; whatever is not an approval by one who may give it is none.

        :raises AirflowSkipException: the promotion was rejected.
        """
        if "error" in event:
            raise AirflowSkipException(f"The candidate is not promoted: nobody could be asked: {event['error']}")
        by = event.get("responded_by_user") or {}
        chosen = list(event.get("chosen_options") or ())
        allowed = {user["id"] for user in _approvers(self.approvers)}
        if chosen != [APPROVE]:
            who = by.get("name") or "the time limit"
            raise AirflowSkipException(f"The candidate is not promoted: {who} rejected it")
        if not by and self.on_timeout != APPROVE:
            raise AirflowSkipException("The candidate is not promoted: an approval does not say whose it is")
        if by and allowed and by.get("id") not in allowed:
            raise AirflowSkipException(f"The candidate is not promoted: {by.get('name')} may not approve it")
        return self._passed(by.get("name") or by.get("id"))

    def _passed(self, approved_by: str | None) -> dict[str, Any]:
        return outputs({"report_uri": self.report_uri, "approved_by": approved_by})

    def _report(self) -> Mapping[str, Any]:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        s3 = S3Hook(**self._hook_parameters)
        with Storage(lambda: s3.conn).read(self.report_uri) as file:
            try:
                report = json.load(file)
            except ValueError as error:
                raise BedrockFatalError(f"{self.report_uri} is no report: {error}. Nothing was promoted.") from error
        if not isinstance(report, dict):
            raise BedrockFatalError(f"{self.report_uri} is no report of an evaluation. Nothing was promoted.")
        return report

    def _rule(self, given: Mapping[str, Any]) -> PromotionRule:
        from airflow_bedrock.registry.gate import PromotionRule

        names = ("metric", "minimum_gain", "max_slice_loss", "max_latency_ms", "max_cost")
        return PromotionRule(**{name: given[name] for name in names})

    def _cost(self, given: Mapping[str, Any], input_tokens: int, output_tokens: int) -> float | None:
        from airflow_bedrock.prices import prices

        known = prices(configuration.prices())
        region = self.hook.conn_region_name
        asked = known.find(given["base_model_id"], "custom_input", region)
        answered = known.find(given["base_model_id"], "custom_output", region)
        return float(asked.cost(input_tokens) + answered.cost(output_tokens)) if asked and answered else None

    def _ask(self, context: Context, given: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """Ask by Airflow's own operator: it ends this try, and Airflow calls ``execute_complete`` with the answer."""
        from airflow.providers.standard.operators.hitl import HITLOperator

        from airflow_bedrock.registry.gate import figures

        HITLOperator(
            task_id=self.task_id,
            subject=f"Promote {report.get('models', {}).get('candidate', {}).get('model', 'the candidate')}?",
            body=f"{figures(report)}\n\n{self.report_uri}",
            options=[APPROVE, REJECT],
            defaults=given["on_timeout"],
            assigned_users=given["approvers"] or None,
            response_timeout=timedelta(seconds=given["approval_timeout"]),
            notifiers=list(self.notifiers),
        ).execute(context)


def can_ask() -> bool:
    """Whether this Airflow can ask a person."""
    from airflow import __version__
    from packaging.version import Version

    return Version(__version__) >= Version("3.1")


def _conflicts(found: Mapping[str, Any]) -> Any:
    if found.get("max_cost") is not None and not found.get("base_model_id"):
        yield "max_cost needs base_model_id, by whose price it is counted"
