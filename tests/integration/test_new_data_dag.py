"""dags/retrain_on_new_data.py: from S3 over EventBridge, SQS and the watcher's trigger to a model, on Local Bedrock.

The DAG may do what deploy/policies/ allows, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger
from botocore.exceptions import ClientError

from airflow_bedrock.compat import AirflowSkipException
from airflow_bedrock.local import LocalBedrock
from tests.dag_files import load
from tests.deployed import Deployed, actions, both, policy, without

FILE = Path(__file__).parents[2] / "dags" / "retrain_on_new_data.py"
PARAMS = {"base_model": "amazon.nova-micro-v1:0:128k"}
RULE = {"source": ["aws.s3"], "detail-type": ["Object Created", "Object Deleted"]}
pytestmark = [
    pytest.mark.local_bedrock(job_seconds=0.5, bucket="new-data-dag", enforce_iam=True),
    pytest.mark.filterwarnings("ignore:.*determine_kwargs"),  # Airflow's own @task.sensor imports it
]


class Account:
    """A bucket that sends events about objects under new-data/ to a queue, as docs/retraining.md sets it up."""

    def __init__(self, local: LocalBedrock) -> None:
        self.local, self.bucket = local, local.bucket
        self.s3, self.sqs, self.events = (local.client(name) for name in ("s3", "sqs", "events"))
        self.queue = self.sqs.create_queue(QueueName="new-data")["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]
        detail = {"bucket": {"name": [self.bucket]}, "object": {"key": [{"prefix": "new-data/"}]}}
        self.events.put_rule(Name="new-data", EventPattern=json.dumps({**RULE, "detail": detail}))
        self.events.put_targets(Rule="new-data", Targets=[{"Id": "queue", "Arn": attributes["QueueArn"]}])
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )

    def put(self, name: str, answer: str) -> None:
        rows = [{"prompt": f"Request {number}, about the {answer}", "completion": answer} for number in range(60)]
        body = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        self.s3.put_object(Bucket=self.bucket, Key=f"new-data/{name}", Body=body)

    def delete(self, name: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=f"new-data/{name}")

    @property
    def jobs(self) -> int:
        return len([call for call in self.local.calls.of("CreateModelCustomizationJob") if call.status == 201])

    def close(self) -> None:
        for client in (self.s3, self.sqs, self.events):
            client.close()


@pytest.fixture(scope="module")
def deployed(local_bedrock_module: LocalBedrock) -> Deployed:
    made = Deployed(local_bedrock_module)
    made.allow(to_airflow=both(made.airflow, policy("new-data")))
    return made


@pytest.fixture(scope="module")
def account(airflow_database: Path, local_bedrock_module: LocalBedrock, deployed: Deployed) -> Iterator[Account]:
    with closing(Account(local_bedrock_module)) as account, pytest.MonkeyPatch.context() as patch:
        for name, value in deployed.environment():
            patch.setenv(name, value)
        yield account


@pytest.fixture(scope="module")
def watched(account: Account) -> Iterator[Any]:
    """The DAG's module, where there is a queue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEDROCK_NEW_DATA_QUEUE", account.queue)
        yield load(FILE)


def watch(module: Any) -> list[dict[str, Any]]:
    """Let the asset's trigger run, as the triggerer does, until it fires; return what it has received."""
    (watcher,) = module.NEW_DATA.watchers
    again = SqsSensorTrigger(**{**watcher.trigger.serialize()[1], "waiter_delay": 0})

    async def fire() -> list[Any]:
        return [event.payload async for event in again.run()]

    (payload,) = asyncio.run(fire())
    batch: list[dict[str, Any]] = payload["message_batch"]
    return batch


def task(module: Any, name: str) -> Any:
    return module.dag.get_task(name).python_callable


def take(module: Any, batch: list[dict[str, Any]]) -> int:
    event = SimpleNamespace(extra={"from_trigger": True, "payload": {"status": "success", "message_batch": batch}})
    taken: int = task(module, "take_messages")({module.NEW_DATA.name: [event]}, PARAMS)
    return taken


def is_settled(module: Any, account: Account, minutes: float) -> str | None:
    """Poll once; return the content's digest where it has settled."""
    found = task(module, "settled")(account.bucket, {"window": minutes}, SimpleNamespace(run_id="another"))
    return found.xcom_value if found.is_done else None


def run(module: Any, minutes: float = 1e-6) -> dict[str, str]:
    for one in module.dag.tasks:
        if hasattr(one, "poke_interval"):
            one.poke_interval = 0.1
            one.mode = "poke"  # dag.test() runs a task that is rescheduled no second time
    found = module.dag.test(run_conf={"window": minutes})
    return {one.task_id: str(one.state) for one in found.get_task_instances()}


def test_each_content_that_has_settled_trains_once(account: Account, watched: Any) -> None:
    """A message that comes twice, and a second run for the same content, cost nothing; another content one more job."""
    account.put("a.jsonl", "lamp")
    batch = watch(watched)
    assert json.loads(batch[0]["Body"])["detail"]["object"]["key"] == "new-data/a.jsonl"
    assert (take(watched, batch), take(watched, batch)) == (1, 1)
    assert "Messages" not in account.sqs.receive_message(QueueUrl=account.queue, VisibilityTimeout=0)

    assert set(run(watched).values()) == {"success"}
    assert account.jobs == 1
    account.put("a.jsonl", "lamp")  # the same content by another upload
    with pytest.raises(AirflowSkipException, match="has claimed this content"):
        is_settled(watched, account, 0)
    account.put("b.jsonl", "door")
    assert is_settled(watched, account, 0) is None
    assert is_settled(watched, account, 0)


def test_each_action_on_the_queue_is_needed(account: Account, watched: Any, deployed: Deployed) -> None:
    """Without it the trigger, or the task, fails with an error that names it."""
    account.put("queued.jsonl", "lamp")
    batch = watch(watched)
    needs: dict[str, Callable[[], object]] = {
        "sqs:ReceiveMessage": lambda: watch(watched),
        "sqs:DeleteMessage": lambda: take(watched, batch),
    }
    try:
        for action, call in needs.items():
            deployed.allow(to_airflow=both(deployed.airflow, without(policy("new-data"), action)))
            with pytest.raises(ClientError, match=f"perform: {action} on resource: arn:aws:sqs:us-east-1:.*:new-data"):
                call()
    finally:
        deployed.allow(to_airflow=both(deployed.airflow, policy("new-data")))
        account.delete("queued.jsonl")
    assert sorted(needs) == sorted(actions(policy("new-data")))
    assert take(watched, batch) == len(batch)


def test_a_content_that_is_replaced_within_the_window_never_trains(account: Account, watched: Any) -> None:
    """Also where it was deleted a moment before, and where it has settled, and changes before the claim."""
    account.put("b.jsonl", "stays")
    account.put("a.jsonl", "first")
    assert is_settled(watched, account, 0) is None
    first = is_settled(watched, account, 0)
    assert first
    assert is_settled(watched, account, 60) is None
    account.delete("a.jsonl")
    assert is_settled(watched, account, 0) is None  # less than before, and its latest object is old
    account.put("a.jsonl", "second")
    assert is_settled(watched, account, 0) is None
    second = is_settled(watched, account, 0)
    assert second not in (None, first)
    with pytest.raises(AirflowSkipException, match="has changed again"):
        task(watched, "claim")(first, account.bucket, SimpleNamespace(run_id="run"))


def test_a_claim_is_of_one_run(account: Account, watched: Any) -> None:
    """A retry or a Clear of it goes on, also after it has failed; a run beside it does not, until the claim is gone."""
    digest = watched.content(account.s3, account.bucket)
    for run_id in (uuid.uuid4().hex,) * 2:
        task(watched, "claim")(digest, account.bucket, SimpleNamespace(run_id=run_id))
    with pytest.raises(AirflowSkipException, match=f"Run {run_id} has claimed this content"):
        task(watched, "claim")(digest, account.bucket, SimpleNamespace(run_id="another"))
    account.s3.delete_object(Bucket=account.bucket, Key=f"retrain-on-new-data/claims/{digest}")
    task(watched, "claim")(digest, account.bucket, SimpleNamespace(run_id="another"), {"dry_run": False})


def test_a_dry_run_claims_nothing(account: Account, watched: Any) -> None:
    """The content is for a run that trains."""
    account.put("a.jsonl", "for a dry run")
    digest = watched.content(account.s3, account.bucket)
    task(watched, "claim")(digest, account.bucket, SimpleNamespace(run_id="dry"), {"dry_run": True})
    assert watched.claimed_by(account.s3, account.bucket, digest) is None


def test_without_data_there_is_nothing_to_do(account: Account, watched: Any) -> None:
    """A folder's placeholder is no data."""
    for name in ("a.jsonl", "b.jsonl"):
        account.delete(name)
    account.s3.put_object(Bucket=account.bucket, Key="new-data/")
    with pytest.raises(AirflowSkipException, match="There is no data"):
        is_settled(watched, account, 0)


def test_without_a_queue_the_dag_reads_the_folder_by_the_clock(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an Airflow without watchers, too: no asset, no trigger, and the same tasks, whose sensor finds what is new."""
    monkeypatch.delenv("BEDROCK_NEW_DATA_QUEUE", raising=False)
    module = load(FILE)
    assert not module.NEW_DATA.watchers
    assert module.SCHEDULE.total_seconds() == 900
    assert task(module, "take_messages")({}, PARAMS) == 0
    account.put("by-the-clock.jsonl", "window")
    assert is_settled(module, account, 0) is None
    digest = is_settled(module, account, 0)
    task(module, "claim")(digest, account.bucket, SimpleNamespace(run_id="09:00"))
    with pytest.raises(AirflowSkipException, match="Run 09:00 has claimed this content"):
        is_settled(module, account, 0)  # of the run of 09:15
    account.put("by-the-clock.jsonl", "door")
    assert is_settled(module, account, 0) is None
    assert is_settled(module, account, 0) not in (None, digest)
    account.delete("by-the-clock.jsonl")
