"""What a try writes into Airflow's task state store for the next one."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from msgspec.structs import replace

from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.jobs import request_note
from airflow_bedrock.jobs.request_note import RequestNote, note_of
from tests.state_store import Store

TASK_KEY = TaskKey(
    dag_id="dag", task_id="t", run_id="run", map_index=3, environment="prod", ask=4, try_number=2, retries=3
)
HERE, THERE = "account 123456789012, region us-east-1", "account 123456789012, region eu-west-1"
NOTE = {
    "airflow_bedrock_job": {
        "ask": "3e18d0ad2122d8588374",
        "place": HERE,
        "name": "router-1",
        "environment": "prod",
    }
}


def test_what_is_written_down_never_changes() -> None:
    """A task that waits meanwhile is taken up by a later release, which must read it."""
    store = Store()
    RequestNote(store, TASK_KEY, HERE).write("router-1")
    assert store == NOTE
    store["airflow_bedrock_job"]["more"] = "of a later release"
    assert RequestNote(store, replace(TASK_KEY, try_number=3), HERE).name_before == "router-1"


def test_another_environment_fails_a_retry_and_is_reported_to_a_clear(caplog: pytest.LogCaptureFixture) -> None:
    """All names would be others, and the job of the earlier try would not be found."""
    renamed = replace(TASK_KEY, environment="staging")
    with pytest.raises(
        BedrockFatalError,
        match=rf"router-1 in \[bedrock\] environment 'prod', {HERE}, but .* environment 'staging'.*spent nothing",
    ):
        RequestNote(Store(NOTE), renamed, HERE).check_place()
    with caplog.at_level(logging.WARNING):
        RequestNote(Store(NOTE), replace(renamed, ask=5), HERE).check_place()
    assert ["'prod'" in message for message in caplog.messages] == [True]


def test_only_the_same_ask_gets_its_name() -> None:
    """A Clear is an ask of its own."""
    store = Store(NOTE)
    assert RequestNote(store, TASK_KEY, HERE).name_before == "router-1"
    assert RequestNote(store, replace(TASK_KEY, ask=5), HERE).name_before is None
    RequestNote(store, TASK_KEY, HERE).clear()
    assert RequestNote(store, TASK_KEY, HERE).name_before is None


def test_another_region_fails_a_retry_and_is_reported_to_a_clear(caplog: pytest.LogCaptureFixture) -> None:
    """The job there cannot be seen from here."""
    store = Store(NOTE)
    RequestNote(store, TASK_KEY, HERE).check_place()
    with pytest.raises(
        BedrockFatalError, match=f"router-1 in {HERE}, but .* lead to {THERE}.*may still run and be billed"
    ):
        RequestNote(store, TASK_KEY, THERE).check_place()
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        RequestNote(store, replace(TASK_KEY, ask=5), THERE).check_place()
    assert [f"router-1 in {HERE}" in message for message in caplog.messages] == [True]


def test_without_a_store_nothing_is_known_and_nothing_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Before Airflow 3.3, which is no news in each task's log."""
    caplog.set_level(logging.INFO)
    note = RequestNote(None, TASK_KEY, HERE)
    note.write("router-1")
    note.clear()
    note.check_place()
    assert note.name_before is None
    assert caplog.messages == []


SERVICE: Any = SimpleNamespace(
    hook=SimpleNamespace(conn_region_name="us-east-1"), resource=SimpleNamespace(noun="provisioned throughput")
)


def test_without_a_role_sts_names_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked only where there is a store."""
    store = Store()
    monkeypatch.setattr(request_note, "caller_arn", lambda _: "arn:aws:iam::123456789012:root")
    note_of({"task_state_store": store}, TASK_KEY, SERVICE).write("router-1")
    assert store == NOTE
    monkeypatch.setattr(request_note, "caller_arn", lambda _: "arn:aws:iam::210987654321:root")
    with pytest.raises(BedrockFatalError, match=r"requested provisioned throughput router-1 in .* account 2109"):
        note_of({"task_state_store": store}, TASK_KEY, SERVICE)
    monkeypatch.setattr(request_note, "caller_arn", lambda _: pytest.fail("nobody needs it"))
    assert note_of({}, TASK_KEY, SERVICE).name_before is None


def test_an_unknown_account_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """STS may be out of reach; what is written down stays as it is."""

    def lost(_: Any) -> str:
        raise EndpointConnectionError(endpoint_url="https://sts")

    store = Store(NOTE)
    monkeypatch.setattr(request_note, "caller_arn", lost)
    note_of({"task_state_store": store}, TASK_KEY, SERVICE).write("router-2")
    assert store == NOTE
