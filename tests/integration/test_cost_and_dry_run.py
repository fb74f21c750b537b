"""What a job may cost, and a dry run: nothing is created, stopped or tagged, as the service's journal shows."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk import BaseOperator
from botocore.exceptions import EndpointConnectionError

from airflow_bedrock.compat import AirflowFailException, AirflowSkipException, AirflowTaskTimeout
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from airflow_bedrock.operators import dry_run as dry_run_module
from airflow_bedrock.spend import pricing
from tests.integration.test_customization_operator import Account, context, name, operator, records

__all__ = ["name"]

pytestmark = pytest.mark.local_bedrock(clock="manual", job_seconds=100)

CHANGES = ("CreateModelCustomizationJob", "StopModelCustomizationJob", "TagResource")


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    return local_bedrock_module


@pytest.fixture
def account(local: LocalBedrock) -> Iterator[Account]:
    account = Account(local)
    yield account
    account.close()
    local.clock.advance(1000)


def changes(local: LocalBedrock) -> int:
    return sum(len(local.calls.of(operation)) for operation in CHANGES)


def lines(now: Any) -> dict[str, list[tuple[str, str]]]:
    """What was pushed: by check, each line's verdict and sentence."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in now["ti"].pushed["dry_run"]["lines"]:
        found.setdefault(one["check"], []).append((one["verdict"], one["said"]))
    return found


def dry(
    task: Any, kind: type[Exception] = AirflowSkipException, run: str = "run-1"
) -> tuple[dict[str, list[tuple[str, str]]], str]:
    now = context(run)
    with pytest.raises(kind) as caught:
        task.execute(now)
    return lines(now), str(caught.value)


@pytest.mark.parametrize("max_cost", ["0.000001", 0, "{{ limit }}"])
def test_a_job_that_may_cost_too_much_is_not_created(
    account: Account, local: LocalBedrock, name: str, max_cost: Any
) -> None:
    """The upper end of the range counts; the message has the estimate, the price, its date and what to do."""
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name, max_cost=max_cost)
    if "{{" in str(max_cost):
        task.max_cost = "0.00001"
    before = changes(local)
    with pytest.raises(BedrockFatalError, match="may be more than max_cost") as caught:
        task.execute(context())
    assert isinstance(caught.value, AirflowFailException)
    for part in ("The job costs", "2026-08-10", "AWS Price List", "raise max_cost", "nothing was spent"):
        assert part in str(caught.value)
    assert changes(local) == before
    assert account.jobs(name) == []


def test_a_job_within_the_limit_is_created_and_adopted_whatever_the_limit_is_then(
    account: Account, local: LocalBedrock, name: str
) -> None:
    """It has the same name with and without a limit; what is adopted or reused costs nothing."""
    data = account.put("train.jsonl", records())
    arn = operator(account, local, data, job_name=name, max_cost=1, wait_for_completion=False).execute(context())
    for more in ({"max_cost": 0}, {}, {"max_cost": "0.5"}):
        again = operator(account, local, data, job_name=name, wait_for_completion=False, **more)
        assert again.execute(context()) == arn
    local.clock.advance(1000)
    assert operator(account, local, data, job_name=name, max_cost=0).execute(context()) == arn
    assert len(account.jobs(name)) == 1


@pytest.mark.parametrize(
    ("prices", "model", "said"),
    [
        ("", "amazon.nova-pro-v1:0:300k", "No price is known for training of amazon.nova-pro-v1:0"),
        ("/nowhere/prices.toml", "amazon.nova-micro-v1:0:128k", "The prices in /nowhere/prices.toml cannot be read"),
    ],
)
def test_without_a_price_the_limit_fails_closed(
    account: Account,
    local: LocalBedrock,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    prices: str,
    model: str,
    said: str,
) -> None:
    """What nobody knows the price of may cost anything."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", prices)
    data, before = account.put("train.jsonl", records()), changes(local)
    with pytest.raises(BedrockFatalError, match="nothing was spent") as caught:
        operator(account, local, data, job_name=name, max_cost=1000, base_model_id=model).execute(context())
    assert said in str(caught.value)
    assert changes(local) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"prompt,completion\nWhere?,Here.\n", "No record of the training data can be read"),
        (
            gzip.compress(records().encode(), mtime=0),
            "is compressed. A customization job needs uncompressed JSON Lines",
        ),
    ],
    ids=["a table", "packed"],
)
def test_data_that_no_job_can_read_passes_no_limit(
    account: Account, local: LocalBedrock, name: str, content: bytes, said: str
) -> None:
    """It would seem to cost nothing; the job would use up its name and fail."""
    data, before = account.put("train.jsonl", ""), changes(local)
    bucket, _, key = data.removeprefix("s3://").partition("/")
    account.s3.put_object(Bucket=bucket, Key=key, Body=content)
    with pytest.raises(BedrockFatalError, match=said) as caught:
        operator(account, local, data, job_name=name, max_cost=1000).execute(context())
    assert "nothing was spent" in str(caught.value)
    assert changes(local) == before


def test_a_price_of_the_users_own(
    account: Account, local: LocalBedrock, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By [bedrock] prices."""
    own = tmp_path / "prices.toml"
    own.write_text(
        'sources.a = { date = 2026-10-01, name = "Our agreement" }\n'
        '[[prices]]\nsource = "a"\nmodels."amazon.nova-micro-v1:0" = { training = 1000 }\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", str(own))
    data = account.put("train.jsonl", records())
    with pytest.raises(BedrockFatalError, match="1000 USD per 1,000 tokens \\(2026-10-01, Our agreement\\)"):
        operator(account, local, data, job_name=name, max_cost=1).execute(context())


def test_an_earlier_job_is_not_stopped_for_one_that_costs_too_much(
    account: Account, local: LocalBedrock, name: str
) -> None:
    """After a Clear with other data: the limit is held before anything is stopped, and the error says what runs on."""
    data = account.put("train.jsonl", records())
    arn = operator(account, local, data, job_name=name, wait_for_completion=False).execute(context())
    account.put("train.jsonl", records(50))
    with pytest.raises(BedrockFatalError, match="may be more than max_cost") as caught:
        operator(account, local, data, job_name=name, max_cost=0).execute(context(clear_number=1))
    assert f"Still running from an earlier ask of this task: {arn}, which is billed." in str(caught.value)
    assert [one["status"] for one in account.jobs(name)] == ["InProgress"]


@pytest.mark.parametrize("max_cost", [-1, "many", True, float("nan")])
def test_an_invalid_limit_fails_when_the_dag_is_parsed(account: Account, local: LocalBedrock, max_cost: Any) -> None:
    """A limit that nobody can hold is no limit."""
    with pytest.raises(ValueError, match="max_cost must be a number of US dollars"):
        operator(account, local, "s3://bucket/train.jsonl", max_cost=max_cost)


def test_a_dry_run_says_what_would_happen_and_changes_nothing(account: Account, local: LocalBedrock, name: str) -> None:
    """One line a check; then it skips, and what follows it is skipped too. No record text is in it."""
    data, before = account.put("train.jsonl", records()), changes(local)
    found, said = dry(operator(account, local, data, job_name=name, dry_run=True, validation_data_uri=data))
    assert "Nothing was created or paid for" in said
    assert [found["request"][0][0], found["base model"][-1][0], found["buckets and data"][0][0]] == ["ok"] * 3
    assert found["job"][0][0] == "ok"
    assert found["job"][0][1].startswith(f"{name}-")
    assert found["job"][0][1].endswith("would be created and paid for")
    assert found["records"] == [("ok", "40 records, without a problem")]
    assert found["quota"] == [("ok", "0 jobs are running or stopping; the quota is unknown")]
    assert found["price"][0][0] == "ok"
    assert "2026-08-10" in found["price"][1][1]
    assert "colour" not in json.dumps(found)
    assert changes(local) == before


@pytest.mark.parametrize("ended", [False, True])
def test_a_dry_run_says_what_would_be_reused(account: Account, local: LocalBedrock, name: str, *, ended: bool) -> None:
    """A job of another run is not joined by a tag; what is reused costs nothing, so no limit applies."""
    data = account.put("train.jsonl", records(42 + ended))  # of no other test
    arn = operator(account, local, data, job_name=name, reuse="dag", wait_for_completion=False).execute(
        context(f"{name}-first")
    )
    if ended:
        local.clock.advance(1000)
    before = changes(local)
    task = operator(account, local, data, job_name=name, reuse="dag", dry_run="True", max_cost=0)
    found, _ = dry(task, run=f"{name}-second")
    what = "reused with its model" if ended else "adopted while it runs"
    assert found["job"] == [("ok", f"{arn} would be {what}, which costs nothing")]
    assert changes(local) == before


def test_a_dry_run_names_the_job_of_an_earlier_try(account: Account, local: LocalBedrock, name: str) -> None:
    """Somebody has set dry_run between the tries: the task is skipped, and nothing waits for the job."""
    data = account.put("train.jsonl", records())
    arn = operator(account, local, data, job_name=name, wait_for_completion=False).execute(context())
    now = context()
    now["ti"].try_number += 1
    with pytest.raises(AirflowSkipException):
        operator(account, local, data, job_name=name, dry_run=True).execute(now)
    [(verdict, said)] = lines(now)["job"]
    assert verdict == "warning"
    assert said.startswith(f"{arn} of an earlier try still runs and is billed")


def test_a_dry_run_that_takes_too_long_stops_no_job_of_an_earlier_try(
    account: Account, local: LocalBedrock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time-out is that of the checks, not of the job."""

    def slow(*_: Any) -> Any:
        raise AirflowTaskTimeout

    data = account.put("train.jsonl", records())
    arn = operator(account, local, data, job_name=name, wait_for_completion=False).execute(context())
    monkeypatch.setattr(dry_run_module, "checked", slow)
    now = context()
    now["ti"].try_number += 1
    before = changes(local)
    with pytest.raises(BedrockError, match=f"Job {arn} was left running, as configured"):
        operator(account, local, data, job_name=name, dry_run=True).execute(now)
    assert changes(local) == before


def test_the_limit_does_not_count_for_a_job_that_exists_even_if_its_data_cannot_be_read(
    account: Account, local: LocalBedrock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task itself would adopt it, and pay nothing."""

    def unreachable(*_: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://s3.amazonaws.com")

    data = account.put("train.jsonl", records())
    operator(account, local, data, job_name=name, wait_for_completion=False).execute(context())
    monkeypatch.setattr(pricing, "check_data", unreachable)
    found, _ = dry(operator(account, local, data, job_name=name, dry_run=True, max_cost=0))
    assert found["price"] == [("unknown", "unknown, since the data was not read")]


def test_a_dry_run_stops_no_earlier_job(account: Account, local: LocalBedrock, name: str) -> None:
    """It says which would be stopped."""
    data = account.put("train.jsonl", records())
    arn = operator(account, local, data, job_name=name, wait_for_completion=False).execute(context())
    account.put("train.jsonl", records(50))
    now = context(clear_number=1)
    with pytest.raises(AirflowSkipException):
        operator(account, local, data, job_name=name, dry_run=True).execute(now)
    assert lines(now)["job"][0] == (
        "warning",
        f"{arn} of an earlier ask would be stopped first, unless others wait for it",
    )
    assert [one["status"] for one in account.jobs(name)] == ["InProgress"]


def test_a_dry_run_fails_where_the_job_would(account: Account, local: LocalBedrock, name: str) -> None:
    """Every problem at once: bad records, a place that is not there, a limit."""
    data = account.put("train.jsonl", records() + "{broken\n")
    task = operator(account, local, data, job_name=name, dry_run=True, max_cost=0)
    found, said = dry(task, BedrockFatalError)
    assert found["records"][0][0] == "problem"
    assert "train.jsonl:41" in found["records"][0][1]
    assert found["price"][0][0] == "problem"
    assert "records: 41 records" in said
    assert "max_cost" in said
    task = operator(account, local, data, job_name=name, dry_run=True, output_data_uri="s3://no-such-bucket-here/out")
    found, said = dry(task, BedrockFatalError)
    assert "no bucket" in found["buckets and data"][0][1]
    assert "job" not in found


def test_a_dry_run_of_a_request_that_is_wrong(account: Account, local: LocalBedrock, name: str) -> None:
    """Nothing else can be checked."""
    task = operator(account, local, "s3://bucket/x.jsonl", job_name=name, dry_run=True, role_arn="{{ role }}")
    task.role_arn = "bedrock"
    found, said = dry(task, BedrockFatalError)
    assert list(found) == ["request"]
    assert "roleArn" in said


def test_a_dry_run_in_a_region_without_the_model(account: Account, local: LocalBedrock, name: str) -> None:
    """The package knows where a model is customized; the price is not known elsewhere."""
    data = account.put("train.jsonl", records())
    task = operator(account, local, data, job_name=name, dry_run=True, region_name="eu-west-1", preflight=False)
    now = context()
    with pytest.raises((AirflowSkipException, BedrockFatalError)):
        task.execute(now)
    found = lines(now)
    assert any("not eu-west-1" in said for _, said in found["base model"])
    assert "No price is known for training" in found["price"][0][1]


def test_what_aws_does_not_say_is_unknown(
    account: Account, local: LocalBedrock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing permission or an endpoint that is not reached fails no check."""
    data = account.put("train.jsonl", records())
    denials = [
        local.faults.fail(operation, "AccessDeniedException", times=None)
        for operation in ("GetFoundationModel", "ListModelCustomizationJobs")
    ]

    def unreachable(*_: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://iam.amazonaws.com")

    monkeypatch.setattr(dry_run_module, "denied", unreachable)
    found, _ = dry(operator(account, local, data, job_name=name, dry_run=True))
    for fault in denials:
        local.faults.remove(fault)
    assert found["base model"][-1][0] == "unknown"
    assert found["quota"][0] == ("unknown", "allow bedrock:ListModelCustomizationJobs to count the running jobs")
    assert found["permissions"][0][0] == "unknown"
    assert "allow iam:SimulatePrincipalPolicy" in found["permissions"][0][1]


@pytest.mark.skipif(not hasattr(BaseOperator, "dry_run"), reason="Airflow < 3.1: operators have no such method")
def test_airflows_own_dry_run_stays(account: Account, local: LocalBedrock) -> None:
    """`airflow tasks test --dry-run` calls a method of that name."""
    task = operator(account, local, "s3://bucket/train.jsonl", dry_run=True)
    assert task.dry_run.__func__ is BaseOperator.dry_run
    assert "is_dry_run" in BedrockModelCustomizationOperator.template_fields


@pytest.mark.parametrize(
    ("base", "answer", "found"),
    [
        ("an.old-model", {"modelLifecycle": {"status": "LEGACY"}}, [("warning", "LEGACY in us-east-1")]),
        (
            "a.model",
            {"customizationsSupported": ["DISTILLATION"]},
            [
                ("warning", "Bedrock lists DISTILLATION for it in us-east-1, but not FINE_TUNING"),
                ("ok", "ACTIVE in us-east-1"),
            ],
        ),
        ("a:custom-model/b", {"modelStatus": "Creating"}, [("problem", "the custom model is Creating")]),
        ("a:custom-model/b", {"modelStatus": "Active"}, [("ok", "the custom model is Active")]),
    ],
)
def test_a_dry_run_says_what_bedrock_says_of_the_base_model(
    base: str, answer: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    """A custom model must be ready; what a base model cannot do may be newer than Bedrock's list."""
    conn = SimpleNamespace(
        get_foundation_model=lambda **_: {"modelDetails": answer}, get_custom_model=lambda **_: answer
    )
    hook: Any = SimpleNamespace(conn=conn, conn_region_name="us-east-1")
    unknown, *rest = dry_run_module._base_model({"baseModelIdentifier": base}, hook)
    assert "has no entry" in unknown[1]
    assert rest == found


@pytest.mark.parametrize(("quota", "verdict"), [(4.0, "ok"), (3.0, "warning")])
def test_a_dry_run_compares_the_running_jobs_with_the_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float, verdict: str
) -> None:
    """If no slot is free, the job would be refused, unless another one ends first."""
    named = {"Batch inference jobs": 1.0, "(Model customization) Scheduled customization jobs": quota}
    pages = [{"Quotas": [{"QuotaName": name, "Value": value}]} for name, value in named.items()]
    paginator = SimpleNamespace(paginate=lambda **_: pages)
    client = SimpleNamespace(get_paginator=lambda _: paginator, close=lambda: None)
    monkeypatch.setattr(dry_run_module, "client_of", lambda *_: client)
    monkeypatch.setattr(dry_run_module, "active_jobs", lambda _: 3)
    service: Any = SimpleNamespace(hook=None)
    found = list(dry_run_module._quota(service))
    assert found == [(verdict, f"3 of {quota:.0f} jobs are running or stopping")]


SAMPLES = [{"messages": [{"role": "user", "content": "2+2?"}], "reference_answer": {"answer": "4"}}]


def test_the_reward_function_is_given_a_right_and_an_empty_answer() -> None:
    """In the form that reinforcement fine-tuning sends: the answer as the assistant's message, and all fields."""
    right, empty = dry_run_module.graded_samples(SAMPLES)
    assert right["id"] == "0-reference"
    assert right["messages"] == [*SAMPLES[0]["messages"], {"role": "assistant", "content": '{"answer": "4"}'}]
    assert right["reference_answer"] == {"answer": "4"}
    assert (empty["id"], empty["messages"][-1]["content"]) == ("0-empty", "")


@pytest.mark.parametrize("line", ["{broken", "[]", "5", "{}"])
def test_the_reward_function_is_not_called_on_what_is_no_record(line: str) -> None:
    """The line of the records says what is wrong with them; this one does not break the table."""

    class Stored:
        def read(self, uri: str) -> Any:
            return contextlib.nullcontext([line.encode()])

    storage, hook = cast("Any", Stored()), cast("Any", None)
    grader = {"graderConfig": {"lambdaGrader": {"lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:f"}}}
    request = {"trainingDataConfig": {"s3Uri": "s3://b/k"}, "customizationConfig": {"rftConfig": grader}}
    [(verdict, said)] = dry_run_module._reward(request, hook, storage)
    assert (verdict, "records are invalid" in said) == ("unknown", True)


def scores(**by_id: float) -> str:
    return json.dumps([{"id": f"0-{one}", "aggregate_reward_score": score} for one, score in by_id.items()])


@pytest.mark.parametrize(
    ("body", "verdict", "said"),
    [
        (scores(reference=1, empty=0), "ok", "1 and 0"),
        (scores(reference=0, empty=0), "warning", "should score higher"),
        (scores(reference=1), "problem", "must return a list"),
        ('{"errorMessage": "boom"}', "problem", "must return a list"),
        ("null", "problem", "must return a list"),
        ("\x00", "problem", "must return a list"),
    ],
)
def test_what_a_reward_function_returns_is_shown(body: str, verdict: str, said: str) -> None:
    """Scores, and no text; what is no list of scores fails the job on its first batch."""
    [(found, text)] = dry_run_module.graded(1, body.encode())
    assert found == verdict
    assert said in text
