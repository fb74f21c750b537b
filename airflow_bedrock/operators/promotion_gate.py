"""The gate before a promotion: rules on the report of the evaluation and, if wanted, a person's approval."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import configuration, hooks, jobs, registry, spend
from airflow_bedrock.compat import AirflowSkipException, outputs
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.links import EvaluationReportLink
from airflow_bedrock.operators.arguments import (
    MODEL_ARN,
    Rule,
    flag,
    given,
    named,
    one_of,
    optional,
    real,
    rendered,
    text,
)
from airflow_bedrock.operators.base import BedrockOperator, Notifiers, listed
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.registry import registry_uri_rule
from airflow_bedrock.uris import file_uri

APPROVE, REJECT = "Approve", "Reject"
_LOOK_EACH = timedelta(minutes=1)
_ASKED_ABOUT = "asked_about"  # the XCom with the digest of the report that a person is asked about
_TO_PROMOTE = timedelta(days=1)  # after the time limit: an approval at the last moment, and retries of the promotion


def _approvers(value: Any) -> list[dict[str, str]]:
    """Accept ids of users, or mappings with ``id`` and ``name``."""
    listed: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    users = [{"id": one, "name": one} if isinstance(one, str) else one for one in listed]
    if not all(isinstance(one, Mapping) and set(one) == {"id", "name"} and all(one.values()) for one in users):
        raise ValueError("must be ids of Airflow's users, or mappings with id and name")
    return [dict(user) for user in users]


class BedrockPromotionGate(BedrockOperator):
    """Let a challenger pass if the report of its evaluation meets the rules and, optionally, a person approves.

    If the report lacks a figure that a rule needs, or a price is unknown, the challenger does not pass. That is not an
    error: the task and its downstream tasks are skipped.

    With ``ask_approval``, Airflow asks a person (3.1 and later: Required Actions in the UI, with the report's figures);
    only ``approvers`` can answer, and ``on_timeout`` decides if nobody answers in time. Before Airflow 3.1, the task
    waits in the triggerer for ``airflow-bedrock approve``, and polls for the answer each minute.

    Returns (XCom) a mapping: ``approved_by``, the person's name or None, and ``report_uri``.

    Every parameter except ``notifiers`` and the last one is templated.

    :param report_uri: ``report.json`` of :class:`~airflow_bedrock.operators.BedrockModelEvaluationOperator`:
        ``evaluate.output["report_uri"]``.
    :param model_arn: the challenger's ARN: a report about another model, which another run may have written there, does
        not pass; None skips this check. While a person is asked, the model has the tag
        ``airflow-bedrock/candidate-until``, so that retirement keeps it (bedrock:TagResource).
    :param metric: the metric whose difference counts; None takes the one that decided the evaluation.
    :param minimum_gain: the whole interval of the difference must lie above it.
    :param max_slice_loss: the maximum loss of the candidate on any slice.
    :param max_latency_ms: the maximum latency of 90 % of the candidate's answers, in milliseconds.
    :param max_cost: the maximum cost of 1,000 answers of the candidate, in US dollars, by the evaluation's tokens and
        the on-demand price of custom models of ``base_model_id``.
    :param base_model_id: the candidate's base model; needed for ``max_cost``.
    :param ask_approval: ask a person if the model passes the rules.
    :param approvers: who may answer: ids of Airflow's users, or mappings with ``id`` and ``name``; empty for all who
        may edit the DAG's runs. Before 3.1: ARNs of AWS callers or names of IAM users; empty for all who may write
        answers below the registry.
    :param approval_timeout: seconds to wait for an answer.
    :param on_timeout: the decision if nobody answers in time: ``Reject`` or ``Approve``.
    :param notifiers: Airflow notifiers that are called when the question is asked.
    :param registry_uri: the S3 prefix of the registry, where question and answer are kept before Airflow 3.1.
        (default: ``[bedrock] registry_uri``)
    :param multiple_outputs: also push each value of the mapping as its own XCom. (default: True)
    """

    operator_extra_links = (EvaluationReportLink(),)
    rules: ClassVar[Mapping[str, Rule]] = {
        "report_uri": named(file_uri),
        "model_arn": optional(MODEL_ARN),
        "metric": optional(text),
        "minimum_gain": rendered(real(0)),
        "max_slice_loss": optional(rendered(real(0))),
        "max_latency_ms": optional(rendered(real(0))),
        "max_cost": optional(rendered(real(0))),
        "base_model_id": optional(named(text)),
        "ask_approval": flag,
        "approvers": _approvers,
        "approval_timeout": rendered(real(0, between=True)),
        "on_timeout": one_of(APPROVE, REJECT),
        "registry_uri": given(registry_uri_rule),
    }
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, *rules)

    def __init__(
        self,
        *,
        report_uri: str,
        model_arn: str | None = None,
        metric: str | None = None,
        minimum_gain: float | str = 0.0,
        max_slice_loss: float | str | None = None,
        max_latency_ms: float | str | None = None,
        max_cost: float | str | None = None,
        base_model_id: str | None = None,
        ask_approval: bool | str = False,
        approvers: Sequence[str | Mapping[str, str]] = (),
        approval_timeout: float = 3 * 24 * 60 * 60,
        on_timeout: str = REJECT,
        notifiers: Notifiers = (),
        registry_uri: str | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.report_uri = report_uri
        self.model_arn = model_arn
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
        self.notifiers = listed(notifiers)
        self.registry_uri = registry_uri if registry_uri is not None else configuration.registry_uri()
        # For the notifiers, while a person is asked: the report, and how to answer if Airflow has no page for it.
        self.report: Mapping[str, Any] = {}
        self.answer_by = ""
        self._check_literals()

    def _conflicts(self, found: Mapping[str, Any]) -> Iterator[str]:
        if found.get("max_cost") is not None and not found.get("base_model_id"):
            yield "max_cost needs base_model_id, whose price it uses"

    def execute(self, context: Context) -> dict[str, Any]:
        """Apply the rules, and ask a person if configured.

        :raises AirflowSkipException: the challenger does not pass; the message says why.
        :raises BedrockFatalError: the report cannot be read.
        """
        given = self._checked()
        report = self.report = self._report()
        names = ("model_arn", "metric", "minimum_gain", "max_slice_loss", "max_latency_ms", "max_cost")
        rule = {name: given[name] for name in names}
        if reasons := list(registry.gate.reasons_against(report, partial(self._cost, given), **rule)):
            raise AirflowSkipException(f"The candidate is not promoted: {'; '.join(reasons)}")
        self.log.info("The candidate passes: %s", report.get("reason"))
        if given["ask_approval"] and can_ask():
            self._ask(context, given, report)  # this defers the task; execute_complete continues
        elif given["ask_approval"]:
            return self._passed(self._approver(context, given, report))
        return self._passed(None)

    def look_again(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Start again if nobody has answered: a changed report is another question."""
        return self.execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Resume with the person's answer; only an approval by an approver counts, and only for the same report.

        :raises AirflowSkipException: the promotion was rejected.
        :raises BedrockFatalError: the report was replaced after the question.
        """
        if "error" in event:
            raise AirflowSkipException(
                f"The candidate is not promoted: the question could not be asked: {event['error']}"
            )
        by = event.get("responded_by_user") or {}
        chosen = list(event.get("chosen_options") or ())
        allowed = {user["id"] for user in _approvers(self.approvers)}
        if chosen != [APPROVE]:
            who = by.get("name") or "the time limit"
            raise AirflowSkipException(f"The candidate is not promoted: {who} rejected it")
        if not by and self.on_timeout != APPROVE:
            raise AirflowSkipException("The candidate is not promoted: the approval does not name the approver")
        if by and allowed and by.get("id") not in allowed:
            raise AirflowSkipException(f"The candidate is not promoted: {by.get('name')} is not an approver")
        from airflow_bedrock import shown  # here, since a DAG file does not need it

        asked_about = shown.pushed(context["ti"], _ASKED_ABOUT)  # None if an earlier version of this package asked
        if asked_about is not None and asked_about != _digest(self._report()):
            raise BedrockFatalError(
                f"{self.report_uri} was replaced after the question, so the approval does not count. Nothing was "
                "promoted. Trigger a new run to ask about this report."
            )
        return self._passed(by.get("name") or by.get("id"))

    def _passed(self, approved_by: str | None) -> dict[str, Any]:
        return outputs({"report_uri": self.report_uri, "approved_by": approved_by})

    def _report(self) -> Mapping[str, Any]:
        with self._files().read(self.report_uri) as file:
            try:
                report = json.load(file)
            except ValueError as error:
                raise BedrockFatalError(f"{self.report_uri} is not a report: {error}. Nothing was promoted.") from error
        if not isinstance(report, dict):
            raise BedrockFatalError(f"{self.report_uri} is not a report of an evaluation. Nothing was promoted.")
        return report

    def _cost(self, given: Mapping[str, Any], input_tokens: int, output_tokens: int) -> float | None:
        known = spend.pricing.known_prices()
        region = self.hook.conn_region_name
        price_in = known.find(given["base_model_id"], "custom_input", region)
        price_out = known.find(given["base_model_id"], "custom_output", region)
        return float(price_in.cost(input_tokens) + price_out.cost(output_tokens)) if price_in and price_out else None

    def _ask(self, context: Context, given: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """Ask through Airflow's own operator: it defers, and Airflow calls ``execute_complete`` with the answer.

        :raises BedrockFatalError: Airflow would show the person another question.
        """
        from airflow.providers.standard.operators.hitl import HITLOperator

        approvers = ", ".join(user["name"] for user in given["approvers"]) or "anybody who may edit the DAG's runs"
        question = {
            "subject": f"Promote {registry.gate.at(report, 'models', 'candidate', 'model') or 'the candidate'}?",
            "body": f"{registry.gate.figures(report)}\n\n{self.report_uri}\n\nMay be approved by: {approvers}",
            "options": [APPROVE, REJECT],
            "defaults": [given["on_timeout"]],
            "assigned_users": given["approvers"],
        }
        ti: Any = context["task_instance"]
        if _shown(ti.id, question) != question["body"]:
            raise BedrockFatalError(
                "Airflow still shows the question that this task asked before it was cleared, about an earlier report "
                "or to other approvers. Nothing was promoted. Trigger a new run to ask about this report."
            )
        self._keep_candidate(given)
        ti.xcom_push(key=_ASKED_ABOUT, value=_digest(report))
        HITLOperator(
            task_id=self.task_id,
            response_timeout=timedelta(seconds=given["approval_timeout"]),
            notifiers=list(self.notifiers),
            **question,
        ).execute(context)

    def _keep_candidate(self, given: Mapping[str, Any]) -> None:
        """Tag the model, so that retirement does not delete it while a person is asked, however old it is."""
        if (arn := given["model_arn"]) is None:
            return
        time_limit = datetime.now(UTC) + timedelta(seconds=given["approval_timeout"])
        until = (time_limit + _TO_PROMOTE).isoformat(timespec="seconds")
        try:
            self.hook.at(arn).conn.tag_resource(
                resourceARN=arn, tags=[{"key": registry.retirement.CANDIDATE_UNTIL, "value": until}]
            )
        except jobs.aws_errors.CALL_ERRORS as error:
            self.log.warning(
                "Could not tag %s with %s: %s. Retirement may delete the model while a person is asked, unless it is "
                "younger than keep_younger_than. Allow bedrock:TagResource, and clear this task.",
                arn,
                registry.retirement.CANDIDATE_UNTIL,
                error,
            )

    def _approver(self, context: Context, given: Mapping[str, Any], report: Mapping[str, Any]) -> str | None:
        """Return who approved with the command; None if the time limit did. Defer while there is no answer.

        :raises AirflowSkipException: the promotion was rejected.
        """
        import msgspec

        uri = given["registry_uri"]
        approvals = hooks.BedrockModelRegistryHook(**self._hook_parameters, registry_uri=uri).approvals
        question = self._question(context, given, report)
        if (found := approvals.question(question.id)) is None:
            self._keep_candidate(given)
            found = approvals.ask(question)
            self.answer_by = f"airflow-bedrock approve {found.id} --registry {uri}"
            self.log.info("Waiting until %s for: %s", found.until, self.answer_by)
            for notifier in self.notifiers:
                notifier(context)
        # The approvers are those of the task, whatever the stored object says.
        answer = approvals.answered(msgspec.structs.replace(found, approvers=question.approvers))
        remaining = found.until - datetime.now(UTC)
        if answer is None and remaining > timedelta(0):
            from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

            self.defer(trigger=TimeDeltaTrigger(min(remaining, _LOOK_EACH)), method_name=self.look_again.__name__)
        if not (answer.approved if answer else given["on_timeout"] == APPROVE):
            raise AirflowSkipException(
                f"The candidate is not promoted: {answer.by if answer else 'the time limit'} rejected it"
            )
        return answer.by if answer else None

    def _question(
        self, context: Context, given: Mapping[str, Any], report: Mapping[str, Any]
    ) -> registry.approval.Question:
        ti: Any = context["ti"]
        ask = f"{task_key_of(context).ask_digest} {json.dumps(report, sort_keys=True)}"
        return registry.approval.Question(
            id=hashlib.sha256(ask.encode()).hexdigest()[:12],
            asked_by=f"{ti.dag_id}.{ti.task_id} in run {ti.run_id}",
            report_uri=self.report_uri,
            body=registry.gate.figures(report),
            until=datetime.now(UTC) + timedelta(seconds=given["approval_timeout"]),
            approvers=tuple(user["id"] for user in given["approvers"]),
        )


def _digest(report: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()


def _shown(ti_id: Any, question: Mapping[str, Any]) -> Any:
    """Write the question, and return the text that Airflow shows: for a cleared task, that of its first ask.

    https://github.com/apache/airflow/pull/73235
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CreateHITLDetailPayload

    written = CreateHITLDetailPayload(ti_id=ti_id, params={}, **question)
    return getattr(task_runner.SUPERVISOR_COMMS.send(written), "body", None)


def can_ask() -> bool:
    """Whether this Airflow can ask a person."""
    from airflow import __version__
    from packaging.version import Version

    return Version(__version__) >= Version("3.1")
