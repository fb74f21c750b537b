"""A dry run of a task that spends money: check everything that can be checked beforehand, print a table, and skip.

It creates, stops and tags nothing. Each check says ``ok``, ``warning``, ``problem`` or, if access is denied,
``unknown`` and what to allow. A problem fails the task.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from botocore.exceptions import ClientError

from airflow_bedrock import jobs
from airflow_bedrock.aws_errors import CALL_ERRORS, is_not_found
from airflow_bedrock.compat import AirflowSkipException
from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.customization.model_rules import warnings
from airflow_bedrock.customization.request import log_uris
from airflow_bedrock.datasets import estimate as estimates
from airflow_bedrock.datasets.checking import CheckReport
from airflow_bedrock.datasets.estimate import Estimate
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs.account import check_account, client_of
from airflow_bedrock.jobs.permissions import denied, reward_function
from airflow_bedrock.jobs.quota import active_jobs
from airflow_bedrock.jobs.resources import Resource
from airflow_bedrock.operators import job_request
from airflow_bedrock.prices import dollars
from airflow_bedrock.spend import pricing
from airflow_bedrock.spend.budget import Budget
from airflow_bedrock.spend.ledger import Cost
from airflow_bedrock.storage import Storage

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

GRADED_RECORDS = 3
"""Number of records that the reward function is called on."""

_NAMED = 3  # number of problems or permissions in a line
_QUOTA = "customization jobs"  # part of its name in Service Quotas: (Model customization) Scheduled customization jobs

Verdict = Literal["ok", "warning", "problem", "unknown"]


class Line(NamedTuple):
    """One line of the table."""

    check: str
    verdict: Verdict
    said: str


@dataclass(kw_only=True)
class DryRun:
    """The checks up to Create.

    :param arguments: the operator's rendered arguments.
    :param ask: returns the submission, which changes nothing, but reads the data.
    :param budget: returns the budget for a job of this cost; None if none is set.
    """

    arguments: job_request.Arguments
    task_key: TaskKey
    service: jobs.service.Service
    ask: Callable[[], jobs.submission.Submission]
    storage: Storage
    max_cost: Decimal | None
    budget: Callable[[Callable[[], Cost]], Budget | None]
    estimate: Estimate | None = field(default=None, init=False)
    _creates: bool | None = field(default=None, init=False)
    """Whether a job would be created; None if unknown."""
    _submission: jobs.submission.Submission | None = field(default=None, init=False)
    _report: CheckReport | None = field(default=None, init=False)

    def lines(self) -> list[Line]:
        """Run every check; a failed one stops only the checks that need it."""
        request: dict[str, Any] = {}
        lines = list(_checked("request", self._request(request)))
        checks = {
            "base model": self._base_model,
            "buckets and data": self._locations,
            "job": self._job,
            "records": self._records,
            "permissions": self._permissions,
            "quota": self._quota,
            "reward function": self._reward,
            "price": self._price,
            "budget": self._budget,
        }
        for name, check in checks.items() if request else ():
            lines += _checked(name, check(request))
        return lines

    def _request(self, request: dict[str, Any]) -> Iterator[tuple[Verdict, str]]:
        request.update(job_request.checked_request(self.arguments, self.task_key))
        yield "ok", f"{request.get('customizationType', 'FINE_TUNING')} of {request['baseModelIdentifier']}"

    def _base_model(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        for warning in warnings(request, self._region):
            yield "warning", warning
        base, bedrock = request["baseModelIdentifier"], self.service.hook.conn
        if ":custom-model/" in base:
            state = bedrock.get_custom_model(modelIdentifier=base).get("modelStatus", "Active")
            yield ("ok" if state == "Active" else "problem"), f"the custom model is {state}"
            return
        try:
            details = bedrock.get_foundation_model(modelIdentifier=base)["modelDetails"]
        except ClientError as error:
            if not is_not_found(error):
                raise
            yield "problem", f"Bedrock has no {base} in {self._region}. Check the id and the region of the connection."
            return
        ways, way = details.get("customizationsSupported", []), request.get("customizationType", "FINE_TUNING")
        status = details.get("modelLifecycle", {}).get("status", "ACTIVE")
        if ways and way not in ways:
            yield "warning", f"Bedrock lists {', '.join(ways)} for it in {self._region}, but not {way}"
        yield ("ok" if status == "ACTIVE" else "warning"), f"{status} in {self._region}"

    def _locations(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        submission = self.ask()
        if submission.unknown:
            raise submission.unknown
        yield "ok", "they exist, and can be read" if self.arguments.content == "identify" else "they exist"
        self._submission = submission

    def _job(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        if self._submission is not None:  # otherwise the data was not read
            self._creates = yield from _would(self._submission)

    def _records(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        if log_uris(request):
            yield "unknown", "invocation logs are not read before the job; airflow-bedrock check reads them"
            return
        self._report = report = pricing.check_data(request, self.storage)
        count = f"{report.files['training'].records:,} records"
        if report.ok:
            yield "ok", f"{count}, without a problem"
            return
        found = [f"{one.file}:{one.line} {one.message}" for one in report.findings[:_NAMED]]
        rules = [f"{rule}: {number:,}" for rule, number in report.problems.items()]
        yield "problem", f"{count}; {'; '.join([*report.dataset_problems, *rules, *found])}"

    def _permissions(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        check_account(self.service.hook, request["roleArn"])
        try:
            found = denied(self.service.hook, request, self._region)
        except ValueError as error:
            yield "unknown", f"{error}, so its policies cannot be simulated"
            return
        except CALL_ERRORS as error:
            yield "unknown", f"allow iam:SimulatePrincipalPolicy and iam:GetRole to check them: {error}"
            return
        for principal, needed in found.items():
            if needed:
                named = [f"{one.action} on {one.resource}" for one in needed]
                yield "problem", f"{principal} is not allowed: {'; '.join(named)}. Allow it."
            else:
                yield "ok", f"the policies of {principal} allow what the job needs"

    def _quota(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        running, quota = active_jobs(self.service), self._known_quota()
        if running is None:
            yield "unknown", "allow bedrock:ListModelCustomizationJobs to count the running jobs"
        elif quota is None:
            yield "ok", f"{running} jobs are running or stopping; the quota is unknown"
        else:
            yield ("ok" if running < quota else "warning"), f"{running} of {quota:.0f} jobs are running or stopping"

    def _known_quota(self) -> float | None:
        try:
            with closing(client_of(self.service.hook, "service-quotas")) as client:
                pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
                found = [one for page in pages for one in page["Quotas"] if _QUOTA in one["QuotaName"].lower()]
        except CALL_ERRORS as error:
            log.info("The quota of jobs is unknown; allow servicequotas:ListServiceQuotas to see it: %s", error)
            return None
        return min((float(one["Value"]) for one in found), default=None)

    def _reward(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        if (arn := reward_function(request)) is None:
            return
        uri = request["trainingDataConfig"].get("s3Uri")
        if uri is None:
            yield "unknown", "not called, since Bedrock makes the records from invocation logs"
            return
        with self.storage.read(uri) as file:
            lines = [line for _, line in zip(range(GRADED_RECORDS), file, strict=False)]
        try:
            records = [json.loads(line) for line in lines]
            samples = graded_samples(records)
        except (AttributeError, KeyError, TypeError, ValueError):
            yield "unknown", "not called, since the first records are invalid"
            return
        with closing(client_of(self.service.hook, "lambda")) as client:
            response = client.invoke(FunctionName=arn, Payload=json.dumps(samples).encode())
            body = response["Payload"].read()
        if response.get("FunctionError"):
            yield "problem", f"{arn} failed: {body[:500].decode(errors='replace')}"
            return
        yield from graded(len(records), body)

    def _price(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        if self._report is None:
            yield ("unknown" if self.max_cost is None else "problem"), "unknown, since the data was not read"
            return
        self.estimate = made = pricing.estimated(request, self._report, self._region)
        refused = pricing.refusal(made, self.max_cost) if self._creates is not False else None
        if refused:
            yield "problem", refused
        else:
            yield ("ok" if made.cost else "unknown"), estimates.verdict(made)
        for item in (*made.job, made.storage):
            if item.price is not None:
                yield "ok", f"{item.what}: {estimates.dollars(item.cost)} USD at {item.price}"
            elif item is made.storage:
                yield "unknown", item.unknown

    def _budget(self, request: Mapping[str, Any]) -> Iterator[tuple[Verdict, str]]:
        cost = partial(pricing.cost_of, self._estimated, request["baseModelIdentifier"])
        return _of_budget(partial(self.budget, cost), "job", creates=self._creates is not False)

    def _estimated(self) -> Estimate:
        if self.estimate is None:
            raise BedrockFatalError("The data was not read, or has no price.")
        return self.estimate

    @property
    def _region(self) -> str:
        return self.service.hook.conn_region_name


def of_paid(
    resource: Resource,
    ask: Callable[[], jobs.submission.Submission],
    cost: Callable[[], Cost],
    budget: Callable[[], Budget | None],
) -> list[Line]:
    """Run every check for a resource other than a customization job; a failed one stops no other.

    :param ask: returns the submission, which changes nothing, but may read data.
    :param cost: returns its maximum cost.
    :param budget: returns the budget for it; None if none is set.
    """
    creates = True

    def job() -> Iterator[tuple[Verdict, str]]:
        nonlocal creates
        creates = yield from _would(ask())

    lines = [*_checked(resource.noun, job()), *_checked("price", _price(cost))]
    lines.append(Line("price", "ok", f"it {resource.billed}"))
    return [*lines, *_checked("budget", _of_budget(budget, resource.noun, creates=creates))]


def of_questions(missing: int, cost: Callable[[], Cost], budget: Callable[[], Budget | None], noun: str) -> list[Line]:
    """Return how many questions would be asked, what they may cost at most, and whether the budget covers them."""
    lines = [Line("questions", "ok", f"{missing:,} to ask"), *_checked("price", _price(cost))]
    return [*lines, *_checked("budget", _of_budget(budget, noun, creates=missing > 0))]


def _checked(name: str, check: Iterator[tuple[Verdict, str]]) -> Iterator[Line]:
    try:
        for verdict, text in check:
            yield Line(name, verdict, text)
    except BedrockError as error:
        yield Line(name, "problem", str(error))
    except CALL_ERRORS as error:
        yield Line(name, "unknown", f"AWS did not return it: {error}")


def _would(submission: jobs.submission.Submission) -> Generator[tuple[Verdict, str], None, bool]:
    """Describe what would be done, and return whether something would be created."""
    resource = submission.service.resource
    try:
        found = submission.find_or_create()
    except jobs.submission.DryRunError as create:
        for one in create.superseded:
            yield "warning", f"{one.arn} of an earlier ask would be stopped first, unless others wait for it"
        if create.updated is not None:
            yield "ok", f"{create.updated.arn} would be changed to the requested model"
            return False
        yield "ok", f"{create.name} would be created{' and paid for' if resource.names_waiters else ''}"
        return True
    what = "reused with its model" if found.outcome is Outcome.SUCCEEDED else "adopted while it runs"
    bill = f"and {resource.billed}" if resource.lasts else "which costs nothing"
    yield "ok", f"{found.arn} would be {what}, {bill}"
    return False


def _price(find: Callable[[], Cost]) -> Iterator[tuple[Verdict, str]]:
    cost = find()
    if cost.usd is None:
        yield "unknown", cost.unknown
    else:
        yield "ok", f"at most {dollars(cost.usd)} USD{f': {cost.basis}' if cost.basis else ''}"


def _of_budget(find: Callable[[], Budget | None], noun: str, *, creates: bool) -> Iterator[tuple[Verdict, str]]:
    if (budget := find()) is None or (remaining := budget.remaining()) is None:
        return
    line, cost = f"{dollars(remaining)} USD are left this month", budget.cost()
    if not creates:
        yield "ok", f"{line}; the {noun} would cost nothing more"
    elif cost.usd is None:
        yield "problem", f"{line}, but the cost of the {noun} is unknown: set expected_cost. {cost.unknown}"
    elif cost.usd > remaining:
        yield "problem", f"{line}; the {noun} may cost {dollars(cost.usd)}, {dollars(cost.usd - remaining)} more"
    else:
        yield "ok", f"{line}; the {noun} may cost {dollars(cost.usd)}"


def graded_samples(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the samples for a reward function: each record twice, with its reference answer and with an empty one.

    https://docs.aws.amazon.com/bedrock/latest/userguide/reward-functions.html
    """
    samples = []
    for number, record in enumerate(records):
        reference = record.get("reference_answer", "")
        text = reference if isinstance(reference, str) else json.dumps(reference)
        for name, answer in (("reference", text), ("empty", "")):
            messages = [*record["messages"], {"role": "assistant", "content": answer}]
            samples.append({**record, "id": f"{number}-{name}", "messages": messages})
    return samples


def graded(records: int, body: bytes) -> Iterator[tuple[Verdict, str]]:
    """Describe what a reward function returned for :func:`graded_samples`, without any text of a record."""
    try:
        rewards = {one["id"]: float(one["aggregate_reward_score"]) for one in json.loads(body)}
        pairs = [(rewards[f"{number}-reference"], rewards[f"{number}-empty"]) for number in range(records)]
    except (KeyError, TypeError, ValueError) as error:
        yield "problem", f"it must return a list with id and aggregate_reward_score for each sample: {error!r}"
        return
    rewarded = "; ".join(f"record {number}: {good:g} and {none:g}" for number, (good, none) in enumerate(pairs, 1))
    better = any(good > none for good, none in pairs)
    hint = "" if better else ". A reference answer, if the records have one, should score higher: check it"
    yield ("ok" if better else "warning"), f"the reference answer and an empty one get {rewarded}{hint}"


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a table in plain text."""
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    return "\n".join(f"{check:{widths[0]}}  {verdict:{widths[1]}}  {text}" for check, verdict, text in lines)


def finish(lines: Sequence[Line], context: Context, noun: str, estimate: Estimate | None = None) -> NoReturn:
    """Log and push the table, and end the task.

    :param noun: the noun for the resource, such as ``job``.
    :raises AirflowSkipException: no check failed.
    :raises BedrockFatalError: a check failed.
    """
    log.info("Dry run; nothing is created, stopped or paid for.\n%s", table(lines))
    problems = [f"{line.check}: {line.said}" for line in lines if line.verdict == "problem"]
    made = estimates.as_dict(estimate) if estimate else None
    found = {"ok": not problems, "lines": [line._asdict() for line in lines], "estimate": made}
    context["ti"].xcom_push("dry_run", found)
    if problems:
        raise BedrockFatalError(f"Dry run: the {noun} would not be made, or would fail. {' '.join(problems)}")
    raise AirflowSkipException(f"Dry run: no check failed for the {noun}. Nothing was created or paid for.")
