"""Copies from account to account on Local Bedrock: shared, copied, and no longer shared."""

from __future__ import annotations

import json
import time
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs import sharing, waiting
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCopyOperator
from tests.faults.paid import QUICK, KilledError, World
from tests.kms_keys import make_key

OURS, THEIRS = "123456789012", "210987654321"


@pytest.fixture
def local(world: World, monkeypatch: pytest.MonkeyPatch) -> LocalBedrock:
    """Lead the connection aws_default to the account of the model, aws_production to another one."""
    environment = world.local.environment()
    connection = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
    extra = connection["extra"]
    extra = {**(json.loads(extra) if isinstance(extra, str) else extra), "role_arn": f"arn:aws:iam::{THEIRS}:role/air"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_PRODUCTION", json.dumps({**connection, "extra": extra}))
    clock = SimpleNamespace(sleep=lambda seconds: world.pass_time(), monotonic=time.monotonic)
    monkeypatch.setattr(waiting, "time", clock)
    return world.local


def copy(context: Any, **arguments: Any) -> Any:
    """Run a task that copies the model to production."""
    given: dict[str, Any] = {
        "source_aws_conn_id": "aws_default",
        "aws_conn_id": "aws_production",
        "region_name": "us-west-2",
    }
    operator = BedrockModelCopyOperator(
        task_id="copy", botocore_config=QUICK, **{"target_model_name": "router", **given, **arguments}
    )
    with closing(operator.hook.conn):
        return operator.execute(context)


def shares(local: LocalBedrock) -> list[tuple[str, str]]:
    """The resource shares of the model's account: name and status."""
    with closing(local.client("ram")) as ram:
        return [(one["name"], one["status"]) for one in ram.get_resource_shares(resourceOwner="SELF")["resourceShares"]]


def context(run: str, pushed: dict[str, Any]) -> Any:
    """What a task of the run is given."""
    ids = {"dag_id": "dag", "task_id": "copy", "run_id": run, "map_index": -1, "max_tries": 0, "try_number": 1}
    ti = SimpleNamespace(**ids, xcom_push=lambda key, value: pushed.update({key: value}))
    return {"ti": ti, "dag_run": SimpleNamespace(partition_key=None)}


def test_a_model_goes_to_another_account(world: World, local: LocalBedrock) -> None:
    """It is shared for as long as it takes, and encrypted there by the key that was asked for."""
    before, pushed = shares(local), dict[str, Any]()
    key = make_key(local, region="us-west-2", account=THEIRS)
    arn = copy(context("a", pushed), source_model_arn=world.models[0], model_kms_key_id=key)
    assert arn.startswith(f"arn:aws:bedrock:us-west-2:{THEIRS}:custom-model/")
    assert pushed["result"]["custom_model_arn"] == arn
    assert pushed["result"]["source_model_arn"] == world.models[0]
    [(name, status)] = shares(local)[len(before) :]
    assert name.startswith("copy-router-")
    assert status == "DELETED"
    with closing(local.client("bedrock", "us-west-2")) as ours:
        assert ours.list_custom_models(nameContains="router")["modelSummaries"] == [], "it is in the other account"


def test_a_retry_names_and_no_longer_shares_the_model_that_was_copied(
    world: World, local: LocalBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that its template names now: it takes up the copy of its first try, whose worker was lost."""
    before, pushed = shares(local), dict[str, Any]()
    given = context("retried", pushed)
    given["ti"].max_tries = 1

    def lose_the_worker(_: float) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(waiting, "time", SimpleNamespace(sleep=lose_the_worker, monotonic=time.monotonic))
        with pytest.raises(KilledError):
            copy(given, source_model_arn=world.models[0], target_model_name="retried")
    given["ti"].try_number = 2
    copy(given, source_model_arn=world.models[1], target_model_name="retried")
    assert pushed["result"]["source_model_arn"] == world.models[0]
    assert [status for _, status in shares(local)[len(before) :]] == ["DELETED"]


def test_what_is_not_shared_is_not_copied(world: World, local: LocalBedrock) -> None:
    """No model is found; nothing was made, and the error says what to do."""
    said = (
        rf"nothing was created or spent.*is in account {OURS}, and the copy goes to {THEIRS}\. Set source_aws_conn_id"
    )
    with pytest.raises(BedrockFatalError, match=said):
        copy(context("b", {}), source_model_arn=world.models[0], source_aws_conn_id=None)


def test_a_copy_within_the_account_is_not_shared(world: World, local: LocalBedrock) -> None:
    """The author has taken one connection for two."""
    with pytest.raises(BedrockFatalError, match="belongs to the account of model"):
        copy(context("c", {}), source_model_arn=world.models[0], aws_conn_id="aws_default")


def test_a_share_that_is_refused_makes_no_copy(
    world: World, local: LocalBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what was tried, and that nothing was made."""
    monkeypatch.setattr(sharing, "_associations", lambda *_: [{"status": "FAILED", "statusMessage": "no organization"}])
    with pytest.raises(BedrockError, match=r"Sharing model .* failed: no organization.* No copy was made"):
        copy(context("d", {}), source_model_arn=world.models[1])


def test_another_model_is_shared_after_a_clear(
    world: World, local: LocalBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task was ended while the first one was copied, which has left its resource share."""

    def ended(_: float) -> None:
        raise KilledError

    before, cleared = shares(local), context("f", {})
    with monkeypatch.context() as patch:
        patch.setattr(waiting, "time", SimpleNamespace(sleep=ended, monotonic=time.monotonic))
        with pytest.raises(KilledError):
            copy(cleared, source_model_arn=world.models[0])
    cleared["ti"].try_number, cleared["ti"].max_tries = 2, 1
    arn = copy(cleared, source_model_arn=world.models[1])
    assert arn.startswith(f"arn:aws:bedrock:us-west-2:{THEIRS}:custom-model/")
    assert [status for _, status in shares(local)[len(before) :]] == ["DELETED", "DELETED"]


@pytest.mark.parametrize(
    ("message", "more", "fatal"),
    [
        ("An internal error occurred. Please try again later.", {}, False),
        ("An internal error occurred. Please try again later.", {"ensure_unique_name": False}, True),
        ("The model is too large.", {}, True),
    ],
)
def test_a_copy_that_failed_is_made_again_by_a_retry_only_where_that_helps(
    world: World, local: LocalBedrock, message: str, more: dict[str, Any], fatal: bool
) -> None:
    """Not where the cause stays, nor where its name is used up; the error promises no other."""
    local.faults.fail_job("copy", message)
    run = f"failed {message} {more}"
    with pytest.raises(BedrockError, match=message) as failed:
        copy(context(run, {}), source_model_arn=world.models[0], **more)
    assert isinstance(failed.value, BedrockFatalError) is fatal
    assert ("A retry of this task makes a new copy job." in str(failed.value)) is not fatal
