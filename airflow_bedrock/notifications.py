"""Messages about a task for any notifier: what happened, why, the bill, and where to look."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple

from airflow.sdk import BaseNotifier, Context

from airflow_bedrock.customization.console import resource_url
from airflow_bedrock.customization.model_rules import life_warning
from airflow_bedrock.prices import dollars
from airflow_bedrock.shown import EVALUATION, JOB, PROMOTION, pushed

_GATE = "BedrockPromotionGate"
_OVER_BUDGET = "BudgetError"  # by its name, so that a callback need not import its module

_FAILED = {"up_for_retry": "failed, and will be retried"}
_NOT_FAILED = {"running": "has started", "skipped": "was skipped"}

log = logging.getLogger(__name__)


class Message(NamedTuple):
    """A message: its subject and its text; neither has the text of a record."""

    subject: str
    text: str


class BedrockNotifier(BaseNotifier):
    """Report the result of a task of this package with any of Airflow's notifiers.

    It is a callback of a task (``on_success_callback``, ``on_failure_callback``, ``on_retry_callback``) or of all tasks
    in ``default_args``, and one of the ``notifiers`` of :class:`~airflow_bedrock.operators.BedrockPromotionGate`. Each
    of its notifiers is called with ``bedrock_subject`` and ``bedrock_text`` added to Airflow's context::

        BedrockNotifier(SlackNotifier(text="{{ bedrock_text }}", channel="#models"))

    If a notifier fails, the others are still called.

    :param notifiers: what sends the text, such as Airflow's notifiers for Slack, e-mail and Amazon SNS.
    """

    def __init__(self, *notifiers: BaseNotifier) -> None:
        super().__init__()
        self.notifiers = notifiers

    def notify(self, context: Context) -> None:
        """Call each notifier.

        :raises Exception: the first error of a notifier, after all were called.
        """
        notice = message(context)
        more: Any = {**context, "bedrock_subject": notice.subject, "bedrock_text": notice.text}
        errors = []
        for notifier in self.notifiers:
            try:
                copy(notifier)(dict(more))  # a copy, since a notifier renders its own attributes permanently
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]


def message(context: Mapping[str, Any]) -> Message:
    """Return the message about a task, from its XComs and its error.

    :param context: the context of a callback or of a notifier.
    """
    ti = context["ti"]
    mapped = getattr(ti, "map_index", None)
    where = f"{ti.dag_id}.{ti.task_id}" + (f"[{mapped}]" if mapped is not None and mapped >= 0 else "")
    subject, lines = _subject_and_lines(context, where)
    log_url = getattr(ti, "log_url", None)
    lines += [f"Task: {where} in run {ti.run_id}", *([f"Log: {log_url}"] if log_url else [])]
    return Message(subject, "\n".join([subject, *lines]))


def _subject_and_lines(context: Mapping[str, Any], where: str) -> tuple[str, list[str]]:
    error, ti = context.get("exception"), context["ti"]
    state: str = getattr(getattr(ti, "state", None), "value", "")  # Airflow may not know it, as of a lost worker
    if error is not None:  # the error says what happened to the job, what it costs and what to do
        what = "is over the budget" if type(error).__name__ == _OVER_BUDGET else _FAILED.get(state, "failed")
        known = _pushed(ti, JOB)
        local = known.get("local_page") if isinstance(known, Mapping) else None
        return f"{where} {what}", [
            str(error) or type(error).__name__,
            *([f"Local Bedrock: {local}"] if local and local not in str(error) else []),
        ]
    for key, describe in ((JOB, _ended), (EVALUATION, _evaluated), (PROMOTION, _promoted)):
        if isinstance(known := _pushed(ti, key), Mapping):
            subject, *lines = describe(known)
            return subject, lines
    gate: Any = context.get("task")
    asks = getattr(gate, "task_type", None) == _GATE and gate.report and state != "skipped"
    if asks and _pushed(ti, "return_value") is None:
        return f"{where} waits for a person's approval", [
            *_reason_and_bill({**gate.report, "report_uri": gate.report_uri}),
            *_answer(gate, ti),
        ]
    return f"{where} {_NOT_FAILED.get(state, 'has ended')}", []  # if its worker was lost, nothing is known


def _answer(gate: Any, ti: Any) -> Iterator[str]:
    """Return the command to answer with, or else the page: Airflow's page of the task, which also has its log."""
    if gate.answer_by:
        yield f"Answer: {gate.answer_by}"
    elif log_url := getattr(ti, "log_url", None):
        yield f"Answer: {log_url.partition('?')[0]}/required_actions"


def _promoted(known: Mapping[str, Any]) -> Iterator[str]:
    back = known.get("rolled_back_by")
    yield f"A {'rollback' if back else 'promotion'}: {_name(known['model_arn'])} serves as {known['name']}"
    if back:
        yield f"Rolled back by {back}. The model that served will not be promoted again."
    if replaced := known.get("replaced"):
        yield f"It replaced {_name(replaced)}, whose storage is billed until it is deleted."
    if by := known.get("approved_by"):
        yield f"Approved by {by}."
    if evaluation := known.get("evaluation"):
        yield f"Evaluation: {evaluation}"
    yield from _link("Model", known["model_arn"], known.get("local_page"))
    yield from _end_of_life(known["model_arn"])


def _evaluated(known: Mapping[str, Any]) -> Iterator[str]:
    yield f"An evaluation: candidate against baseline: {known['verdict']}"
    yield from _reason_and_bill(known)


def _reason_and_bill(known: Mapping[str, Any]) -> Iterator[str]:
    """Return the reason, the bill and the report's address, from the XComs or the report itself."""
    if why := known.get("reason"):
        yield str(why)
    cost = known.get("cost")
    bill = f"{dollars(cost)} USD" if isinstance(cost, (int, float)) else "unknown, since a price is missing"
    yield f"Bill: {bill}."
    yield f"Report: {known.get('report_page') or known['report_uri']}"


def _ended(known: Mapping[str, Any]) -> Iterator[str]:
    job, model = known["job_arn"], known.get("custom_model_arn")
    yield f"Customization job {known.get('job_name') or _name(job)}: {known['status']}"
    if why := known.get("failure_message"):
        yield f"Why: {why}"
    losses = [(name, known.get(f"{name}_loss")) for name in ("training", "validation")]
    if losses_text := ", ".join(f"{name} {loss:.4g}" for name, loss in losses if loss is not None):
        yield f"Loss: {losses_text}."
    if (bill := known.get("bill")) and bill.get("usd") is not None:
        yield f"Bill: {dollars(float(bill['usd']))} USD."
    page = known.get("local_page")  # of Local Bedrock, whose jobs are not in the AWS console
    if model:
        yield "The model's storage is billed until it is deleted."
        yield from _link("Model", model, page)
    yield from _link("Job", job, page)
    yield from _end_of_life(model or known.get("base_model_arn") or "")


def _end_of_life(identifier: str) -> Iterator[str]:
    if warning := life_warning(identifier):
        yield f"{warning}."


def _link(what: str, arn: str, page: str | None = None) -> Iterator[str]:
    yield f"{what}: {arn} {page or resource_url(arn)}".rstrip()


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


def _pushed(ti: Any, key: str) -> Any:
    """Return the task's XComs; nothing if they cannot be read, e.g. after its worker was lost."""
    try:
        return pushed(ti, key)
    except Exception as error:
        log.warning(
            "The notification of %s.%s is incomplete, since its XComs cannot be read: %s", ti.dag_id, ti.task_id, error
        )
        return None
