"""Every fault, for each kind of paid thing: one is made, and none is left that nobody asked for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.paid import (
    IMPORT,
    KINDS,
    ONE,
    SCENARIOS,
    Kind,
    Outcome,
    Scenario,
    Task,
    World,
    play,
    put_model,
    row,
)
from tests.state_store import Store

PAGE = Path(__file__).parents[2] / "docs" / "throughput-and-copies.md"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.word)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.play.__name__)
def test_each_resource_is_made_once_and_none_is_left(
    world: World, scenario: Scenario, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be stopped goes on, and the task or its log says so, and what it costs."""
    with caplog.at_level("INFO"):
        outcome, said = play(scenario, kind, world)
    assert outcome == scenario.expected(kind)
    assert row(scenario, [str(scenario.expected(each)) for each in KINDS])[:-2] in PAGE.read_text()
    if outcome.left:
        text = "\n".join((*said, caplog.text))
        assert "no operation that stops" in text
        assert "To make it anyway" not in text


def moved(task: Task) -> None:
    """The worker is lost, and the connection leads to another region by the next try: it fails before Create."""
    task.store = Store()
    task.attempt(kill="after")
    task.arguments |= {"region_name": "eu-west-1"}
    task.finish()


def renamed(task: Task) -> None:
    """The worker is lost, and the name differs in the next try: it takes what its first try has made."""
    task.store = Store()
    task.attempt(kill="after")
    task.name = f"{task.run}other"
    task.finish()
    task.name = task.run


def data_gone(task: Task) -> None:
    """The worker is lost, and the model's files are deleted when they are imported, before the next try."""
    task.arguments["model_data_uri"] = put_model(task.world.local, task.name)
    task.attempt(kill="after")
    task.world.pass_time()
    with closing(task.world.local.client("s3")) as s3:
        for item in s3.list_objects_v2(Bucket=task.world.local.bucket, Prefix=f"{task.name}/")["Contents"]:
            s3.delete_object(Bucket=task.world.local.bucket, Key=item["Key"])
    task.finish()


def test_a_retry_whose_files_were_deleted_takes_up_its_own_import(world: World) -> None:
    """The model is billed for its storage, so the task says that it is there."""
    assert play(Scenario(data_gone), IMPORT, world) == (ONE, [])


def unreadable(task: Task) -> None:
    """S3 fails to list the model's folder during the first try."""
    fault = task.world.local.faults.fail("ListObjectsV2", "InternalError", status=500, service="s3", times=None)
    task.attempt()
    task.world.local.faults.remove(fault)
    task.finish()


def test_a_folder_that_cannot_be_read_makes_nothing(world: World) -> None:
    """The error says which; a retry reads it again."""
    outcome, [said] = play(Scenario(unreadable), IMPORT, world)
    assert outcome == ONE
    assert f"Reading {world.folders[0]} failed. This try made no job and spent nothing." in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.word)
@pytest.mark.parametrize(("fault", "ours"), [(moved, Outcome(1, 1, "failed")), (renamed, ONE)])
def test_a_retry_finds_what_its_earlier_try_wrote_down(world: World, kind: Kind, fault: Any, ours: Outcome) -> None:
    """Since Airflow 3.3: what no name contains."""
    outcome, said = play(Scenario(fault), kind, world)
    assert outcome == ours
    if fault is moved:
        assert "An earlier try of this task requested" in said[-1]
        assert "lead to account 123456789012, region eu-west-1" in said[-1]


def unread(task: Task) -> None:
    """The caller may not read the model's files, and says so: ``content="ignore"``."""
    task.arguments["content"] = "ignore"
    fault = task.world.local.faults.fail("ListObjectsV2", "AccessDenied", status=403, service="s3", times=None)
    task.attempt()
    task.world.local.faults.remove(fault)


def test_a_folder_that_may_not_be_read_is_known_by_its_uri(world: World) -> None:
    """Nothing of it is read before the import is asked for."""
    before = len(world.local.calls.of("ListObjectsV2"))
    outcome, said = play(Scenario(unread), IMPORT, world)
    assert outcome.made == 1, said
    assert not [call for call in world.local.calls.of("ListObjectsV2")[before:] if call.status == 403]
