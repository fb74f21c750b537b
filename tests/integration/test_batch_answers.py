"""Answers by batch inference: a job is paid for once, within the limit, stopped when nobody waits, and what it leaves
out is counted and named.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.compat import AirflowTaskTimeout, TaskDeferred
from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs import submission, task_state, waiting
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockBatchAnswersOperator
from airflow_bedrock.shapes import missing_in_botocore
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.budget import BudgetError
from airflow_bedrock.storage import Storage
from tests.state_store import Store

pytestmark = [
    pytest.mark.local_bedrock(clock="manual"),
    pytest.mark.skipif(
        bool(missing_in_botocore("CreateModelInvocationJob.modelInvocationType")),
        reason="this botocore does not know CreateModelInvocationJob.modelInvocationType",
    ),
]

MICRO = "amazon.nova-micro-v1:0"
Told = Callable[[], None]


class Airflow:
    """A batch task, what Airflow says of it, and what happens while its worker waits."""

    def __init__(self, local: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.local, self.name = local, f"b{uuid.uuid4().hex[:8]}"
        self.bedrock, self.s3 = local.client("bedrock"), local.client("s3")
        self.state = "running"
        self.while_waiting: Told = lambda: local.clock.advance(600)
        monkeypatch.setattr(task_state, "state_of", lambda ti: self.state if ti.run_id == "run" else "running")
        monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=lambda _: None))
        monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=lambda _: self.while_waiting(), monotonic=lambda: 0))
        self.put(120)

    def put(self, count: int) -> None:
        lines = (json.dumps({"prompt": f"{self.name} question {n}", "completion": "yes"}) for n in range(1, count + 1))
        self.s3.put_object(Bucket=self.local.bucket, Key=f"{self.name}/test.jsonl", Body="\n".join(lines).encode())

    def task(self, **more: Any) -> BedrockBatchAnswersOperator:
        arguments: dict[str, Any] = {
            "task_id": "batch",
            "test_data_uri": f"s3://{self.local.bucket}/{self.name}/test.jsonl",
            "model_id": MICRO,
            "role_arn": self.local.role_arn,
            "output_uri": f"s3://{self.local.bucket}/{self.name}/batch",
            "answers_uri": f"s3://{self.local.bucket}/{self.name}/answers",
            "waiter_delay": 0.1,
        }
        return BedrockBatchAnswersOperator(**{**arguments, **more})

    def context(self, try_number: int = 1, run: str = "run") -> Any:
        ti = SimpleNamespace(
            dag_id=self.name, task_id="batch", run_id=run, map_index=-1, max_tries=3, try_number=try_number, task=None
        )
        return {"ti": ti, "dag_run": SimpleNamespace()}

    def jobs(self) -> dict[str, str]:
        """The status of each job that was paid for, by its ARN."""
        listed = self.bedrock.list_model_invocation_jobs()["invocationJobSummaries"]
        return {
            job["jobArn"]: job["status"]
            for job in listed
            if f"/{self.name}/" in job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        }

    def asked(self) -> list[int]:
        """Which records the jobs were asked, all together."""
        folder = self.s3.list_objects_v2(Bucket=self.local.bucket, Prefix=f"{self.name}/batch/")["Contents"]
        files = [item["Key"] for item in folder if item["Key"].endswith(".jsonl")]
        lines = [line for key in files for line in self.read(key).splitlines()]
        return sorted(int(json.loads(line)["recordId"]) for line in lines)

    def read(self, key: str) -> bytes:
        with self.s3.get_object(Bucket=self.local.bucket, Key=key)["Body"] as body:
            content: bytes = body.read()
            return content

    def change_output(self, change: Callable[[list[bytes]], list[bytes]]) -> None:
        """Change what the job has answered, before the task reads it."""
        for item in self.s3.list_objects_v2(Bucket=self.local.bucket, Prefix=f"{self.name}/batch/")["Contents"]:
            if item["Key"].endswith(".jsonl.out"):
                content = b"\n".join(change(self.read(item["Key"]).splitlines()))
                self.s3.put_object(Bucket=self.local.bucket, Key=item["Key"], Body=content)


@pytest.fixture
def airflow(local_bedrock_module: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    airflow = Airflow(local_bedrock_module, monkeypatch)
    yield airflow
    airflow.bedrock.close()
    airflow.s3.close()
    local_bedrock_module.faults.clear()
    local_bedrock_module.clock.advance(600)


class Ended(BaseException):
    """Airflow ends the worker's process."""


def killed(task: BedrockBatchAnswersOperator) -> Told:
    def kill() -> None:
        task.on_kill()
        raise Ended

    return kill


def too_long(*_: object) -> Any:
    raise AirflowTaskTimeout


@pytest.mark.parametrize(("state", "status"), [("failed", "Stopping"), ("success", "Stopping"), (None, "Submitted")])
def test_a_worker_that_is_killed_stops_its_job_if_the_task_has_ended(airflow: Airflow, state: Any, status: str) -> None:
    """Marked failed or success: it is stopped. Cleared, or an evicted pod: the next try adopts it."""
    airflow.state, task = state, airflow.task()
    airflow.while_waiting = killed(task)
    with pytest.raises(Ended):
        task.execute(airflow.context())
    assert list(airflow.jobs().values()) == [status]
    if state is None:
        airflow.state, airflow.while_waiting = "running", lambda: airflow.local.clock.advance(600)
        result = airflow.task().execute(airflow.context(2))
        assert (result["job_arns"], result["answered"]) == (list(airflow.jobs()), 120)


def test_a_kill_before_the_job_is_known_keeps_the_money(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the questions are being written; no job is made."""
    airflow.state, task = "failed", airflow.task()
    monkeypatch.setattr(Storage, "write", lambda *_: task.on_kill())
    with pytest.raises(BedrockError, match="no job was made and nothing was spent"):
        task.execute(airflow.context())
    assert airflow.jobs() == {}


def test_the_users_key_encrypts_questions_and_answers(airflow: Airflow) -> None:
    """What the task writes, and what it asks the job to write."""
    airflow.while_waiting = partial(pytest.fail, "the worker is lost")
    with pytest.raises(pytest.fail.Exception):
        airflow.task(kms_key_id="alias/mine").execute(airflow.context())
    [arn] = airflow.jobs()
    job = airflow.bedrock.get_model_invocation_job(jobIdentifier=arn)
    assert job["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] == "alias/mine"
    bucket, _, key = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].removeprefix("s3://").partition("/")
    assert airflow.s3.head_object(Bucket=bucket, Key=key)["SSEKMSKeyId"] == "alias/mine"


def test_a_retry_elsewhere_makes_no_other_job(airflow: Airflow) -> None:
    """Only what the first try wrote down names its job, since Airflow 3.3."""
    airflow.while_waiting, state = partial(pytest.fail, "the worker is lost"), {"task_state_store": Store()}
    with pytest.raises(pytest.fail.Exception):
        airflow.task().execute(airflow.context() | state)
    assert list(state["task_state_store"]) == ["airflow_bedrock_job"]
    with pytest.raises(BedrockFatalError, match=r"requested batch job .* region us-east-1, .* region eu-west-1"):
        airflow.task(region_name="eu-west-1").execute(airflow.context(2) | state)
    assert list(airflow.jobs().values()) == ["Submitted"]


def test_an_upgrade_changes_neither_the_job_nor_the_keys_of_the_answers(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another digest of the same questions would be another paid job, and another key would be another paid answer."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__ENVIRONMENT", "prod")
    airflow.name = "unchanged"
    airflow.put(120)
    airflow.task().execute(airflow.context())
    made = airflow.local.calls.of("CreateModelInvocationJob")[-1].parameters
    assert made["jobName"] == "answers-r72ykoxn-b4omjgzj"
    assert (
        made["clientRequestToken"]
        == "f698c5736a6ddcac6bf1-ffb00d788ce67618c0ed-6dc7cedeb897d041958f-3070090b6519ad708934-1"
    )
    [kept] = airflow.s3.list_objects_v2(Bucket=airflow.local.bucket, Prefix="unchanged/answers/")["Contents"]
    answers = [json.loads(line) for line in gzip.decompress(airflow.read(kept["Key"])).splitlines()]
    assert min(key for key, _ in answers) == "01e403f4f7db98f8696fad086fe4819bcfc3038a0fdd796ced4eb3c87adf4389"


def test_a_job_for_which_another_task_waits_runs_on(airflow: Airflow) -> None:
    """Its tags say who waits."""
    airflow.state, task = "failed", airflow.task()
    other = TaskKey(dag_id="other", task_id="batch", run_id="another")

    def adopted_and_killed() -> None:
        (arn,) = airflow.jobs()
        airflow.bedrock.tag_resource(resourceARN=arn, tags=Waiter.of(other, waits=True).tags(other))
        killed(task)()

    airflow.while_waiting = adopted_and_killed
    with pytest.raises(Ended):
        task.execute(airflow.context())
    assert list(airflow.jobs().values()) == ["Submitted"]


@pytest.mark.parametrize("where", ["waiting", "inside create", "before it knows", "deferred"])
def test_a_task_that_takes_too_long_stops_its_job(
    airflow: Airflow, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever execution_timeout strikes; no retry, which would pay for another job that takes as long."""
    task, context, create = airflow.task(deferrable=where == "deferred"), airflow.context(2), Service.create

    def made_and_too_long(service: Service, request: Any) -> None:
        create(service, request)
        raise AirflowTaskTimeout

    airflow.while_waiting = too_long
    if where == "inside create":
        monkeypatch.setattr(Service, "create", made_and_too_long)
    if where in ("deferred", "before it knows"):
        with pytest.raises(TaskDeferred):
            airflow.task(deferrable=True).execute(airflow.context())
    if where == "before it knows":
        monkeypatch.setattr(BedrockBatchAnswersOperator, "_held_out", too_long)
    goes_on = partial(task.resume_execution, "__fail__", {"error": "Trigger timeout"}) if where == "deferred" else None
    with pytest.raises(BedrockFatalError, match="is being stopped; the records answered so far are billed"):
        (goes_on or task.execute)(context)
    assert list(airflow.jobs().values()) == ["Stopping"]


def test_a_timeout_that_leaves_the_job(airflow: Airflow) -> None:
    """With stop_on_timeout=False it runs on, and a retry adopts it."""
    airflow.while_waiting = too_long
    with pytest.raises(BedrockError, match=r"left running, as configured, .* a retry adopts it") as caught:
        airflow.task(stop_on_timeout=False).execute(airflow.context())
    assert not isinstance(caught.value, BedrockFatalError)
    assert list(airflow.jobs().values()) == ["Submitted"]


def test_a_timeout_says_when_it_cannot_stop(airflow: Airflow) -> None:
    """The error does not say that nothing is billed."""
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context())
    airflow.local.faults.fail("ListModelInvocationJobs", "AccessDeniedException", times=None)
    with pytest.raises(BedrockFatalError, match=r"may still run and be billed\. Stop it in the AWS console"):
        airflow.task().resume_execution("__fail__", {"error": "Trigger timeout"}, airflow.context())


def test_a_retry_that_cannot_list_its_jobs_says_that_one_may_run(airflow: Airflow) -> None:
    """The error names the operation that was denied."""
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context())
    airflow.local.faults.fail("ListModelInvocationJobs", "AccessDeniedException", times=None)
    with pytest.raises(
        BedrockFatalError, match=r"that an earlier try has made may still run.* ListModelInvocationJobs"
    ):
        airflow.task().execute(airflow.context(2))


def test_max_cost_is_held_before_the_job_is_made(airflow: Airflow) -> None:
    """At the price of a batch; what is answered already costs nothing, and the result says what was paid."""
    with pytest.raises(BedrockFatalError, match=r"120 questions may cost up to about 0\.00\d+ USD, more than max_cost"):
        airflow.task(max_cost=0.0001).execute(airflow.context())
    assert airflow.jobs() == {}
    result = airflow.task(max_cost="0.01").execute(airflow.context())
    assert 0 < result["cost"] < 0.01
    assert airflow.task(max_cost=0).execute(airflow.context(run="another"))["cost"] == 0
    assert len(airflow.jobs()) == 1


def test_what_has_no_price_is_not_free(airflow: Airflow, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package knows no price of batches of that model: without a limit the cost is unknown, with one it fails."""
    prices = tmp_path / "prices.toml"
    prices.write_text("only = true\nprices = []\nsources = {}\n")
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", str(prices))
    with pytest.raises(BedrockFatalError, match="no price is known for batch inference of amazon"):
        airflow.task(max_cost=100).execute(airflow.context())
    assert airflow.jobs() == {}
    assert airflow.task().execute(airflow.context())["cost"] is None


def test_the_job_is_held_against_the_budget(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reservation is settled by its tokens; over the budget a task fails, or waits and goes on from there."""
    ledger_uri = f"s3://{airflow.local.bucket}/{airflow.name}/spend"
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", ledger_uri)
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", "0.0000001")
    with pytest.raises(BudgetError, match=r"batch inference job .* more than is left"):
        airflow.task().execute(airflow.context())
    task = airflow.task(over_budget="wait")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(airflow.context())
    assert airflow.jobs() == {}
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", "1")
    result = task.execute_again(airflow.context(), **(deferred.value.kwargs or {}))
    [entry] = Books(ledger_uri, lambda: airflow.s3).read().entries.values()
    assert ([entry.arn], result["job_arns"], entry.basis) == (*[[*airflow.jobs()]] * 2, "the tokens in its manifest")
    assert entry.settled is not None
    assert 0 < entry.settled < entry.reserved
    assert result["cost"] == pytest.approx(float(entry.settled))


def test_only_what_is_missing_is_asked_and_what_fails_is_named(airflow: Airflow) -> None:
    """A record without output, one whose output cannot be read, one that was refused, and lines of nobody."""

    def change(lines: list[bytes]) -> list[bytes]:
        kept = [line for line in lines if int(json.loads(line)["recordId"]) not in (5, 6, 7)]
        unreadable = {"recordId": "6", "modelInput": {}, "modelOutput": {"output": 7}}
        refused = {"recordId": "7", "modelInput": {}, "error": {"errorCode": 429, "errorMessage": "secret"}}
        return [*kept, json.dumps(unreadable).encode(), json.dumps(refused).encode(), b"{", b'{"recordId": "x"}']

    def finish() -> None:
        airflow.local.clock.advance(600)
        if set(airflow.jobs().values()) == {"Completed"}:
            airflow.change_output(change)

    airflow.while_waiting = finish
    result = airflow.task().execute(airflow.context())
    assert (result["answered"], result["missing"]) == (117, 3)
    assert result["errors"] == {"429": 1, "no output": 1, "unreadable": 1}
    assert result["failed_records"] == {"no output": [5], "unreadable": [6], "429": [7]}
    assert airflow.asked() == list(range(1, 121))
    airflow.put(300)  # 183 of which have no answer
    airflow.while_waiting = lambda: airflow.local.clock.advance(600)
    assert airflow.task().execute(airflow.context(run="another"))["missing"] == 0
    assert airflow.asked() == sorted([*range(1, 121), 5, 6, 7, *range(121, 301)])


def test_a_large_set_is_answered_in_parts_by_mapped_tasks(airflow: Airflow) -> None:
    """A job for each part, and none for the whole, whose answers are there: it takes no more than AWS's quota."""
    airflow.put(240)
    lines = airflow.read(f"{airflow.name}/test.jsonl").splitlines()
    for index, part in enumerate((lines[:120], lines[120:])):
        key, context = f"{airflow.name}/part-{index}.jsonl", airflow.context()
        airflow.s3.put_object(Bucket=airflow.local.bucket, Key=key, Body=b"\n".join(part))
        context["ti"].map_index = index
        result = airflow.task(test_data_uri=f"s3://{airflow.local.bucket}/{key}").execute(context)
        assert (result["answered"], len(result["job_arns"])) == (120, 1)
    result = airflow.task(task_id="whole").execute(airflow.context())
    assert (result["answered"], result["job_arns"], len(airflow.jobs())) == (240, [], 2)


def test_a_question_of_many_records_is_asked_once(airflow: Airflow) -> None:
    """Its answer is that of all of them: nothing is paid for twice, and each record counts."""
    lines = (json.dumps({"prompt": f"{airflow.name} question {n % 110}", "completion": "yes"}) for n in range(250))
    airflow.s3.put_object(Bucket=airflow.local.bucket, Key=f"{airflow.name}/test.jsonl", Body="\n".join(lines).encode())
    result = airflow.task().execute(airflow.context())
    assert (result["records"], result["answered"], result["missing"], result["errors"]) == (250, 250, 0, {})
    assert airflow.asked() == list(range(1, 111))


def test_records_with_tools_are_left_to_the_evaluation(airflow: Airflow) -> None:
    """A batch inference job would refuse each of them with a 400."""
    tool = {"toolSpec": {"name": "pay", "inputSchema": {"json": {"type": "object"}}}}
    records = [
        {"messages": [{"role": "user", "content": f"{airflow.name} question {n}"}], "toolConfig": {"tools": [tool]}}
        for n in range(5)
    ]
    key = f"{airflow.name}/test.jsonl"
    lines = [*map(json.dumps, records), airflow.read(key).decode()]
    airflow.s3.put_object(Bucket=airflow.local.bucket, Key=key, Body="\n".join(lines).encode())
    result = airflow.task().execute(airflow.context())
    assert (result["answered"], result["missing"]) == (120, 5)
    assert (result["errors"], result["failed_records"]) == ({"tools": 5}, {"tools": [1, 2, 3, 4, 5]})
    assert airflow.asked() == list(range(6, 126))


def test_what_a_job_answered_before_it_ended_badly_is_kept(airflow: Airflow) -> None:
    """It has expired, or was stopped: what it has written is paid for."""

    def stopped() -> None:
        (arn,) = airflow.jobs()
        job = airflow.bedrock.get_model_invocation_job(jobIdentifier=arn)
        name = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].rpartition("/")[2]
        key = f"{airflow.name}/batch/{name}"
        answer = {"message": {"role": "assistant", "content": [{"text": "yes"}]}}
        output = {
            "output": answer,
            "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
        }
        lines = [{**json.loads(line), "modelOutput": output} for line in airflow.read(key).splitlines()[:50]]
        airflow.s3.put_object(
            Bucket=airflow.local.bucket,
            Key=f"{airflow.name}/batch/{arn.rpartition('/')[2]}/{name}.out",
            Body="\n".join(map(json.dumps, lines)).encode(),
        )
        if job["status"] == "Submitted":
            airflow.bedrock.stop_model_invocation_job(jobIdentifier=arn)
        airflow.local.clock.advance(600)

    airflow.while_waiting = stopped
    with pytest.raises(BedrockFatalError, match=r"is Stopped: .* Answers received so far are kept"):
        airflow.task().execute(airflow.context())
    airflow.put(160)
    airflow.while_waiting = lambda: airflow.local.clock.advance(600)
    assert airflow.task().execute(airflow.context(run="another"))["answered"] == 160
    assert airflow.asked() == sorted([*range(1, 121), *range(51, 161)])


def test_too_few_records_for_a_job(airflow: Airflow) -> None:
    """The service takes no fewer than 100: they are left to the evaluation."""
    airflow.put(99)
    result = airflow.task().execute(airflow.context())
    assert (result["missing"], result["job_arns"], airflow.jobs()) == (99, [], {})


def others_answer(airflow: Airflow, count: int, of: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another task's job answers the first records while the task's own job for all, made in between, still runs.

    The worker is killed after Create, before it reads the job; the job's ARN is returned.
    """
    create, context = Service.create, airflow.context(run="another")
    airflow.put(count)
    other = airflow.task(
        task_id="other", output_uri=f"s3://{airflow.local.bucket}/{airflow.name}/other", deferrable=True
    )
    context["ti"].task_id = "other"
    with pytest.raises(TaskDeferred) as deferred:
        other.execute(context)
    airflow.local.clock.advance(0.5)  # of the second that a job takes

    def accepted_and_killed(service: Service, request: Any) -> None:
        create(service, request)
        raise Ended

    airflow.put(of)
    with monkeypatch.context() as patch:
        patch.setattr(Service, "create", accepted_and_killed)
        with pytest.raises(Ended):
            airflow.task().execute(airflow.context())
    airflow.local.clock.advance(0.6)
    arn = deferred.value.trigger.serialize()[1]["job_identifier"]
    event = {"kind": "ended", "job_identifier": arn, "message": "it is Completed"}
    assert other.execute_complete(context, event, **(deferred.value.kwargs or {}))["answered"] == count
    [own] = airflow.jobs().keys() - {arn}
    return own


@pytest.mark.parametrize(("cleared", "waited_for"), [(False, False), (True, False), (False, True)])
def test_a_job_that_is_no_longer_needed_is_stopped_and_settled(
    airflow: Airflow, cleared: bool, waited_for: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try stops it, unless another task waits for it, waits for its end and settles its bill."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", f"s3://{airflow.local.bucket}/{airflow.name}/spend")
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", "1")
    own = others_answer(airflow, 120, 120, monkeypatch)
    if waited_for:
        other = TaskKey(dag_id="other", task_id="batch", run_id="another")
        airflow.bedrock.tag_resource(resourceARN=own, tags=Waiter.of(other, waits=True).tags(other))
    context = airflow.context(2)
    context["ti"].max_tries += 1 if cleared else 0
    result = airflow.task().execute(context)
    assert (result["answered"], result["job_arns"]) == (120, [] if waited_for else [own])
    entries = Books(f"s3://{airflow.local.bucket}/{airflow.name}/spend", lambda: airflow.s3).read().entries.values()
    [entry] = [one for one in entries if one.run_id == "run"]
    assert (airflow.jobs()[own], len(airflow.jobs())) == ("InProgress" if waited_for else "Stopped", 2)
    assert (result["cost"], entry.settled is None) == (pytest.approx(float(entry.settled or 0)), waited_for)


def test_a_job_with_missing_answers_is_taken_up(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where so few records have no answer that no job would be made for them."""
    own = others_answer(airflow, 120, 150, monkeypatch)
    result = airflow.task().execute(airflow.context(2))
    assert (result["answered"], result["job_arns"], airflow.jobs()[own]) == (150, [own], "Completed")


@pytest.mark.parametrize("try_number", [1, 2])
def test_a_task_of_the_same_ids_in_another_airflow_keeps_its_job(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, try_number: int
) -> None:
    """Neither a task that needs no job stops it, nor one that runs out of time."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__ENVIRONMENT", "theirs")
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context())
    [theirs] = airflow.jobs()
    monkeypatch.setenv("AIRFLOW__BEDROCK__ENVIRONMENT", "ours")
    airflow.put(50)  # too few for a job
    assert airflow.task().execute(airflow.context(try_number))["job_arns"] == []
    monkeypatch.setattr(BedrockBatchAnswersOperator, "_held_out", too_long)
    with pytest.raises(BedrockFatalError, match="took longer than execution_timeout"):
        airflow.task().execute(airflow.context(try_number))
    assert airflow.jobs() == {theirs: "Submitted"}


def test_a_retry_that_fails_early_names_the_running_job(airflow: Airflow) -> None:
    """The file is broken by then; the job of the first try is billed all the same."""
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context())
    airflow.s3.put_object(Bucket=airflow.local.bucket, Key=f"{airflow.name}/test.jsonl", Body=b"{")
    [arn] = airflow.jobs()
    with pytest.raises(BedrockFatalError, match=f"Batch job {arn} of an earlier try still runs and is billed for each"):
        airflow.task().execute(airflow.context(2))


def test_a_retry_without_a_temporary_directory_names_the_running_job(
    airflow: Airflow, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the worker is full or read-only by then; the job of the first try is billed all the same."""
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context())
    [arn] = airflow.jobs()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(BedrockError, match=f"gone.* Batch job {arn} of an earlier try still runs and is billed for"):
        airflow.task().execute(airflow.context(2))


def test_a_job_whose_output_was_deleted_is_named_and_may_be_made_again(airflow: Airflow) -> None:
    """By a lifecycle rule, for example: a Clear takes up the same job until something differs."""
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context())
    airflow.local.clock.advance(600)
    [arn] = airflow.jobs()
    for item in airflow.s3.list_objects_v2(Bucket=airflow.local.bucket, Prefix=f"{airflow.name}/batch/")["Contents"]:
        airflow.s3.delete_object(Bucket=airflow.local.bucket, Key=item["Key"])
    cleared = airflow.context(2)
    cleared["ti"].max_tries += 1
    with pytest.raises(
        BedrockFatalError, match=f"Batch job {arn} has completed and is billed.* set another output_uri"
    ):
        airflow.task().execute(cleared)
    again = airflow.context(3)
    again["ti"].max_tries += 2
    another = f"s3://{airflow.local.bucket}/{airflow.name}/again"
    assert airflow.task(output_uri=another).execute(again)["answered"] == 120
    assert len(airflow.jobs()) == 2


def test_records_that_changed_while_the_job_ran_get_no_answer_of_others(airflow: Airflow) -> None:
    """The retry takes up the job of the earlier records, and keeps the answers to those that are still there."""
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context())
    kept = airflow.read(f"{airflow.name}/test.jsonl").splitlines()[:110]
    more = [json.dumps({"prompt": f"{airflow.name} another {n}", "completion": "yes"}).encode() for n in range(20)]
    key = f"{airflow.name}/test.jsonl"
    airflow.s3.put_object(Bucket=airflow.local.bucket, Key=key, Body=b"\n".join([*kept, *more]))
    result = airflow.task().execute(airflow.context(2))
    assert (result["answered"], result["missing"], len(airflow.jobs())) == (110, 20, 1)
    assert result["errors"] == {"another question": 10, "no output": 10}


def test_a_task_that_an_earlier_release_deferred_goes_on(airflow: Airflow) -> None:
    """It made one job after the other, and deferred with what it knew of them."""
    with pytest.raises(TaskDeferred) as deferred:
        airflow.task(deferrable=True).execute(airflow.context())
    airflow.local.clock.advance(600)
    event = {"kind": "ended", "job_identifier": deferred.value.trigger.job_identifier, "message": "it has ended"}
    so_far = {"chunk": 1, "job_arns": ["arn"], "errors": {}, "failed_records": {}, "cost": 0.5}
    assert airflow.task().execute_complete(airflow.context(), event, **so_far)["answered"] == 120


@pytest.mark.parametrize("by", ["another run of the partition", "the cleared task"])
def test_an_adopter_whose_job_is_stopped_makes_its_own(airflow: Airflow, by: str) -> None:
    """As of a customization job: the stop was not meant for the one who adopted it."""
    partition = {"dag_run": SimpleNamespace(partition_key="2026-11")}
    with pytest.raises(TaskDeferred):
        airflow.task(deferrable=True).execute(airflow.context() | partition)
    [first] = airflow.jobs()

    def stopped_once() -> None:
        if airflow.jobs() == {first: "Submitted"}:
            airflow.bedrock.stop_model_invocation_job(jobIdentifier=first)
        airflow.local.clock.advance(600)

    airflow.while_waiting = stopped_once
    context = airflow.context(run="another") if by == "another run of the partition" else airflow.context(2)
    context["ti"].max_tries += by == "the cleared task"
    result = airflow.task().execute(context | partition)
    assert (airflow.jobs()[first], len(airflow.jobs()), result["answered"]) == ("Stopped", 2, 120)
    assert first not in result["job_arns"]
