"""A dry run of a customization task: check everything that can be checked beforehand, print a table, and skip.

It creates, stops and tags nothing. Each check says ``ok``, ``warning``, ``problem`` or, if access is denied,
``unknown`` and what to allow. A problem fails the task.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

from airflow.sdk import Context
from botocore.exceptions import ClientError

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
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.account import check_account, client_of
from airflow_bedrock.jobs.permissions import denied, reward_function
from airflow_bedrock.jobs.quota import active_jobs
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.submission import DryRunError, Submission
from airflow_bedrock.operators import job_request
from airflow_bedrock.prices import dollars
from airflow_bedrock.spend import pricing
from airflow_bedrock.spend.budget import Budget
from airflow_bedrock.spend.ledger import Cost
from airflow_bedrock.storage import Storage

log = logging.getLogger(__name__)

GRADED_RECORDS = 3
"""Number of records that the reward function is called on."""

_NAMED = 3  # number of problems or permissions in a line
_QUOTA = "customization jobs"  # part of its name in Service Quotas: (Model customization) Scheduled customization jobs

T = TypeVar("T")
Verdict = Literal["ok", "warning", "problem", "unknown"]
Check: TypeAlias = Generator[tuple[Verdict, str], None, T]
"""It yields what its lines say, and returns what later checks need."""


class Line(NamedTuple):
    """One line of the table."""

    check: str
    verdict: Verdict
    said: str


class Table:
    """The lines of the checks so far."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.estimate: Estimate | None = None

    def add(self, name: str, check: Check[T]) -> T | None:
        """Run a check, add its lines, and return its result; None if it failed, which stops no other check."""
        try:
            while True:
                self.lines.append(Line(name, *next(check)))
        except StopIteration as end:
            result: T = end.value
            return result
        except BedrockError as error:
            self.lines.append(Line(name, "problem", str(error)))
        except CALL_ERRORS as error:
            self.lines.append(Line(name, "unknown", f"AWS did not return it: {error}"))
        return None

    def __str__(self) -> str:
        widths = [max(len(line[column]) for line in self.lines) for column in range(2)]
        return "\n".join(f"{check:{widths[0]}}  {verdict:{widths[1]}}  {text}" for check, verdict, text in self.lines)

    def finish(self, context: Context) -> NoReturn:
        """Log and push the table, and end the task.

        :raises AirflowSkipException: no check failed.
        :raises BedrockFatalError: a check failed.
        """
        log.info("Dry run; nothing is created, stopped or paid for.\n%s", self)
        problems = [f"{line.check}: {line.said}" for line in self.lines if line.verdict == "problem"]
        made = estimates.as_dict(self.estimate) if self.estimate else None
        found = {"ok": not problems, "lines": [line._asdict() for line in self.lines], "estimate": made}
        context["ti"].xcom_push("dry_run", found)
        if problems:
            raise BedrockFatalError(f"Dry run: the job would not be made, or would fail. {' '.join(problems)}")
        raise AirflowSkipException("Dry run: no check failed for the job. Nothing was created or paid for.")


def checked(
    arguments: job_request.Arguments,
    task_key: TaskKey,
    service: Service,
    ask: Callable[[], Submission],
    storage: Storage,
    max_cost: Decimal | None,
    budget: Callable[[Callable[[], Cost]], Budget | None],
) -> Table:
    """Run every check for a customization job up to Create.

    :param arguments: the operator's rendered arguments.
    :param ask: returns the submission, which changes nothing, but reads the data.
    :param budget: returns the budget for a job of this cost; None if none is set.
    """
    table, hook = Table(), service.hook
    if (request := table.add("request", _request(arguments, task_key))) is None:
        return table
    table.add("base model", _base_model(request, hook))
    creates: bool | None = None
    if submission := table.add("buckets and data", _locations(ask, arguments)):
        creates = table.add("job", _would(submission))
    report = table.add("records", _records(request, storage))
    table.add("permissions", _permissions(request, hook))
    table.add("quota", _quota(service))
    table.add("reward function", _reward(request, hook, storage))
    of_job = None if creates is False else max_cost
    made = table.estimate = table.add("price", _estimated(request, report, hook.conn_region_name, of_job))
    cost = Cost(usd=None, unknown="The data was not read, or has no price.")
    if made is not None:
        cost = pricing.cost_of(lambda: made, request["baseModelIdentifier"])
    table.add("budget", _of_budget(lambda: budget(lambda: cost), creates))
    return table


def _request(arguments: job_request.Arguments, task_key: TaskKey) -> Check[dict[str, Any]]:
    request = job_request.checked_request(arguments, task_key)
    yield "ok", f"{request.get('customizationType', 'FINE_TUNING')} of {request['baseModelIdentifier']}"
    return request


def _base_model(request: Mapping[str, Any], hook: BedrockHook) -> Check[None]:
    region, base = hook.conn_region_name, request["baseModelIdentifier"]
    for warning in warnings(request, region):
        yield "warning", warning
    if ":custom-model/" in base:
        state = hook.conn.get_custom_model(modelIdentifier=base).get("modelStatus", "Active")
        yield ("ok" if state == "Active" else "problem"), f"the custom model is {state}"
        return
    try:
        details = hook.conn.get_foundation_model(modelIdentifier=base)["modelDetails"]
    except ClientError as error:
        if not is_not_found(error):
            raise
        yield "problem", f"Bedrock has no {base} in {region}. Check the id and the region of the connection."
        return
    ways, way = details.get("customizationsSupported", []), request.get("customizationType", "FINE_TUNING")
    status = details.get("modelLifecycle", {}).get("status", "ACTIVE")
    if ways and way not in ways:
        yield "warning", f"Bedrock lists {', '.join(ways)} for it in {region}, but not {way}"
    yield ("ok" if status == "ACTIVE" else "warning"), f"{status} in {region}"


def _locations(ask: Callable[[], Submission], arguments: job_request.Arguments) -> Check[Submission]:
    submission = ask()
    if submission.unknown:
        raise submission.unknown
    yield "ok", "they exist, and can be read" if arguments.content == "identify" else "the data is not read"
    return submission


def _would(submission: Submission) -> Check[bool]:
    """Describe what would be done, and return whether a job would be created."""
    try:
        found = submission.find_or_create()
    except DryRunError as create:
        for one in create.superseded:
            yield "warning", f"{one.arn} of an earlier ask would be stopped first, unless others wait for it"
        yield "ok", f"{create.name} would be created and paid for"
        return True
    if found.outcome is Outcome.RUNNING and submission.identity.task_key.is_retry:  # dry_run was set between two tries
        yield "warning", f"{found.arn} of an earlier try still runs and is billed; a dry run does not wait for it"
        return False
    what = "reused with its model" if found.outcome is Outcome.SUCCEEDED else "adopted while it runs"
    yield "ok", f"{found.arn} would be {what}, which costs nothing"
    return False


def _records(request: Mapping[str, Any], storage: Storage) -> Check[CheckReport | None]:
    if log_uris(request):
        yield "unknown", "invocation logs are not read before the job; airflow-bedrock check reads them"
        return None
    report = pricing.check_data(request, storage)
    count = f"{report.files['training'].records:,} records"
    if report.ok:
        yield "ok", f"{count}, without a problem"
        return report
    found = [f"{one.file}:{one.line} {one.message}" for one in report.findings[:_NAMED]]
    rules = [f"{rule}: {number:,}" for rule, number in report.problems.items()]
    yield "problem", f"{count}; {'; '.join([*report.dataset_problems, *rules, *found])}"
    return report


def _permissions(request: Mapping[str, Any], hook: BedrockHook) -> Check[None]:
    check_account(hook, request["roleArn"])
    try:
        found = denied(hook, request, hook.conn_region_name)
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


def _quota(service: Service) -> Check[None]:
    running, quota = active_jobs(service), _known_quota(service.hook)
    if running is None:
        yield "unknown", "allow bedrock:ListModelCustomizationJobs to count the running jobs"
    elif quota is None:
        yield "ok", f"{running} jobs are running or stopping; the quota is unknown"
    else:
        yield ("ok" if running < quota else "warning"), f"{running} of {quota:.0f} jobs are running or stopping"


def _known_quota(hook: BedrockHook) -> float | None:
    try:
        with closing(client_of(hook, "service-quotas")) as client:
            pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
            found = [one for page in pages for one in page["Quotas"] if _QUOTA in one["QuotaName"].lower()]
    except CALL_ERRORS as error:
        log.info("The quota of jobs is unknown; allow servicequotas:ListServiceQuotas to see it: %s", error)
        return None
    return min((float(one["Value"]) for one in found), default=None)


def _reward(request: Mapping[str, Any], hook: BedrockHook, storage: Storage) -> Check[None]:
    if (arn := reward_function(request)) is None:
        return
    uri = request["trainingDataConfig"].get("s3Uri")
    if uri is None:
        yield "unknown", "not called, since Bedrock makes the records from invocation logs"
        return
    with storage.read(uri) as file:
        lines = [line for _, line in zip(range(GRADED_RECORDS), file, strict=False)]
    try:
        records = [json.loads(line) for line in lines]
        samples = graded_samples(records)
    except (AttributeError, KeyError, TypeError, ValueError):
        yield "unknown", "not called, since the first records are invalid"
        return
    with closing(client_of(hook, "lambda")) as client:
        response = client.invoke(FunctionName=arn, Payload=json.dumps(samples).encode())
        body = response["Payload"].read()
    if response.get("FunctionError"):
        yield "problem", f"{arn} failed: {body[:500].decode(errors='replace')}"
        return
    yield from graded(len(records), body)


def _estimated(
    request: Mapping[str, Any], report: CheckReport | None, region: str, max_cost: Decimal | None
) -> Check[Estimate | None]:
    if report is None:
        yield ("unknown" if max_cost is None else "problem"), "unknown, since the data was not read"
        return None
    made = pricing.estimated(request, report, region)
    if refused := pricing.refusal(made, max_cost):
        yield "problem", refused
    else:
        yield ("ok" if made.cost else "unknown"), estimates.verdict(made)
    for item in (*made.job, made.storage):
        if item.price is not None:
            yield "ok", f"{item.what}: {estimates.dollars(item.cost)} USD at {item.price}"
        elif item is made.storage:
            yield "unknown", item.unknown
    return made


def _of_budget(find: Callable[[], Budget | None], creates: bool | None) -> Check[None]:
    """Say whether the budget covers the cost.

    :param creates: whether something would be created; None if unknown.
    """
    if (budget := find()) is None or (remaining := budget.remaining()) is None:
        return
    line, cost = f"{dollars(remaining)} USD are left this month", budget.cost()
    if creates is False:
        yield "ok", f"{line}; the job would cost nothing more"
    elif cost.usd is None:
        yield "problem", f"{line}, but the cost of the job is unknown: set expected_cost. {cost.unknown}"
    elif cost.usd > remaining:
        yield "problem", f"{line}; the job may cost {dollars(cost.usd)}, {dollars(cost.usd - remaining)} more"
    else:
        yield "ok", f"{line}; the job may cost {dollars(cost.usd)}"


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


def graded(records: int, body: bytes) -> Check[None]:
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
