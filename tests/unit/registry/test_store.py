"""A register that a person has edited, copied or locked changes nothing, and the error says which object it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.registry.register import Register
from airflow_bedrock.registry.store import ConflictError, RegisterStore
from tests.unit.registry.lines import NAME, Line
from tests.unit.registry.world import World, refused

KEY = f"registry/{NAME}.json"


@pytest.fixture(params=[True, False], ids=["in place", "by pointer"])
def line(request: pytest.FixtureRequest) -> Line:
    line = Line(in_place=request.param)
    line.promote("m1", 1)
    return line


def edit(line: Line, body: bytes, key: str = KEY) -> None:
    line.world.objects[key] = ('"edited"', body)


def edited(line: Line, **fields: Any) -> bytes:
    return json.dumps({**json.loads(line.world.objects[KEY][1]), **fields}).encode()


ACTS: list[Callable[[Line], object]] = [
    lambda line: line.promote("m3", 3),
    lambda line: line.promoter().roll_back(NAME, "ann"),
    lambda line: line.retire(),
]


@pytest.mark.parametrize("act", ACTS, ids=["promote", "roll back", "retire"])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff", b"[]", b'{"name": "router", "previous": 3}', b"{}"),
        b'{"name": "router", "of a later version": ["m1"]}',  # which would be lost by a write
        b'{"name": "router", "promotion": {"version": {"model_arn": "m1"}, "since": "2026-01-01T00:00:00"}}',
    ],
)
def test_an_invalid_register_changes_nothing(line: Line, body: bytes, act: Callable[[Line], object]) -> None:
    """The task fails; the register, the deployment and the models stay."""
    line.train("old")
    edit(line, body)
    with pytest.raises(BedrockFatalError, match=f"{KEY} is not a register that this version understands"):
        act(line)
    assert {one["modelArn"] for one in line.world.deployments.values()} == {"m1"}
    assert line.world.objects[KEY][1] == body
    assert {"m1", "old"} <= line.world.models.keys()


@pytest.mark.parametrize("act", ACTS, ids=["promote", "roll back", "retire"])
@pytest.mark.parametrize("operation", ["get_object", "put_object"])
def test_a_register_that_may_not_be_read_or_written_changes_nothing(
    line: Line, operation: str, act: Callable[[Line], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task fails; the deployment and the models stay."""

    def denied(**_: Any) -> Any:
        raise refused("AccessDenied", operation)

    line.promote("m2", 2)
    line.train("old")
    deployed = json.dumps(line.world.deployments, default=str)
    monkeypatch.setattr(line.world, operation, denied)
    with pytest.raises(BedrockFatalError, match=rf"Could not (read|write) the register s3://bucket/{KEY}.*permissions"):
        act(line)
    assert json.dumps(line.world.deployments, default=str) == deployed
    assert {"m1", "m2", "old"} <= line.world.models.keys()


def test_a_register_that_was_copied_to_another_name_is_no_register_of_that_line(line: Line) -> None:
    """S3 gives the copy the same ETag, so that a condition on it would let the other line's register be written."""
    before = dict(line.world.objects)
    edit(line, line.world.objects[KEY][1], "registry/copy.json")
    line.world.objects["registry/copy.json"] = before[KEY]
    with pytest.raises(BedrockFatalError, match=r"copy\.json is the register of router: it was copied"):
        line.promoter().roll_back("copy", "ann")
    with pytest.raises(BedrockFatalError, match=r"copy\.json is the register of router"):
        line.retire()  # which asks what other lines need
    assert line.world.objects[KEY] == before[KEY]


def test_a_registry_may_be_a_whole_bucket() -> None:
    """Its objects have the names of the lines, with nothing before them."""
    world: Any = World(in_place=True)
    store = RegisterStore("s3://bucket/", lambda: world)
    store.write(Register(name=NAME), None)
    assert list(world.objects) == [f"{NAME}.json"]
    assert store.names() == [NAME]


def test_a_registry_that_may_not_be_listed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for an empty one."""
    world: Any = World(in_place=True)

    def denied(*_: Any) -> Any:
        raise refused("AccessDenied", "ListObjectsV2")

    monkeypatch.setattr(world, "_page", denied)
    with pytest.raises(BedrockFatalError, match=r"Could not list the register s3://bucket/registry/: .*AccessDenied"):
        RegisterStore("s3://bucket/registry", lambda: world).names()


def test_a_champion_that_was_written_by_hand_is_not_believed(line: Line) -> None:
    """The deployment says who serves, and a rollback goes back to what has served."""
    champion = {"model_arn": "never deployed", "period": "2001"}
    edit(line, edited(line, champion=champion))
    line.promote("m2", 2)
    assert line.serving == "m2"
    line.promoter().roll_back(NAME, "ann")
    assert line.serving == "m1"


def test_an_invalid_period_written_by_hand_is_reported(line: Line) -> None:
    """The error names it, and the champion serves on."""
    edit(line, edited(line, champion={"model_arn": "m1", "period": "spring"}))
    with pytest.raises(BedrockFatalError, match="Period 'spring' is not a date or time"):
        line.promote("m2", 2)
    assert line.serving == "m1"


def test_a_register_that_was_deleted_begins_again(line: Line) -> None:
    """What serves goes on serving; what was promoted before is known no more, and so nothing is retired."""
    line.promote("m2", 2)
    del line.world.objects[KEY]
    with suppress(BedrockError):
        line.retire()
    assert {"m1", "m2"} <= line.world.models.keys()
    line.promote("m3", 3)
    assert line.serving == "m3"


def test_a_register_that_is_deleted_in_a_promotion_is_changed_by_somebody_else(line: Line) -> None:
    """Before any of its calls; S3 says that it is gone. A retry, and the next promotion, go on with what serves."""
    first = line.world.calls
    line.promote("m2", 2)
    for number in range(1, 1 + line.world.calls - first):
        again = Line(in_place=line.deployments().in_place)
        again.promote("m1", 1)
        again.world.before[again.world.calls + number] = again.world.objects.clear
        for model in ("m2", "m2", "m3"):
            with suppress(ConflictError):
                again.promote(model, int(model[1]))
        assert again.serving == "m3", number
