"""Rollbacks among everything else: killed at any call, twice, during a promotion, after a retirement."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.cli import main
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.registry.register import NotPromotedError, kept
from tests.unit.registry.lines import BAD, NAME, Line
from tests.unit.registry.world import Killed

IN_PLACE = pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by pointer"])


def killed() -> None:
    raise Killed


def roll_back(line: Line, model_arn: str | None = None) -> None:
    line.promoter().roll_back(NAME, "ann", model_arn)


@IN_PLACE
def test_a_rollback_that_is_killed_at_any_call_is_ended_by_the_next(in_place: bool) -> None:
    """One model serves at each call; asked for again, it rolls back once, and not twice."""
    for when in ("before", "after"):
        for number in range(1, 12):
            line = Line(in_place=in_place)
            for period in (1, 2, 3):
                line.promote(f"m{period}", period)
            line.world.changed = lambda line=line: assert_one_serves(line)  # type: ignore[misc]  # the line of this round
            getattr(line.world, when)[line.world.calls + number] = killed
            try:
                roll_back(line)
            except Killed:
                if line.register.champion.model_arn == "m3":  # type: ignore[union-attr]  # it was not confirmed
                    roll_back(line)
            assert (line.serving, line.register.promotion) == ("m2", None), (when, number)
            assert line.register.rejected == ("m3",)


@IN_PLACE
def test_twice_goes_back_twice_and_no_further_than_there_are_models(in_place: bool) -> None:
    """What a person has rolled back comes back only by its name; a rollback of what was retired is refused."""
    line = Line(in_place=in_place)
    for period in (1, 2, 3):
        line.promote(f"m{period}", period)
    roll_back(line)
    roll_back(line)
    assert (line.serving, line.register.rejected) == ("m1", ("m3", "m2"))
    with pytest.raises(BedrockFatalError, match="No other model can serve"):
        roll_back(line)
    for model in ("m2", "m3"):  # a Clear of their promotions
        with pytest.raises(NotPromotedError, match="rolled back"):
            line.promote(model, int(model[1:]))
    roll_back(line, "m3")
    assert line.serving == "m3"
    line.retire()
    assert line.world.models.keys() == {"m3"} | kept(line.register)
    for model, why in (("m2", "was retired"), ("m3", "already serves as")):
        with pytest.raises(BedrockFatalError, match=f"{model} {why}"):
            roll_back(line, model)
    assert line.serving == "m3"


@IN_PLACE
def test_a_line_that_the_registry_does_not_have(in_place: bool) -> None:
    """As of a misspelt name: nothing is deployed."""
    line = Line(in_place=in_place)
    with pytest.raises(BedrockFatalError, match=r"The registry has no line of models named .* Nothing was changed"):
        roll_back(line)
    assert not line.world.objects


def test_a_user_without_a_name_may_roll_back(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """As in a container that runs by a number."""

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(SystemExit, match="0"):
        main(["rollback", "--help"])
    assert f"default: uid {os.getuid()}" in capsys.readouterr().out


def assert_one_serves(line: Line) -> None:
    assert line.serving


STEPS = st.fixed_dictionaries(
    {
        "what": st.sampled_from(["promote", "promote a bad one", "roll back", "retire", "delete the deployment"]),
        "period": st.integers(1, 4),
        "at": st.integers(1, 12),
        "then": st.sampled_from(["nothing", "kill", "roll back", "promote", "stall"]),
    }
)


@given(in_place=st.booleans(), steps=st.lists(STEPS, min_size=2, max_size=8))
@settings(max_examples=150)
def test_whatever_happens_around_a_rollback(in_place: bool, steps: list[dict[str, Any]]) -> None:
    """At the end one good model serves that nobody has rolled back, and what a rollback needs is there."""
    line = Line(in_place=in_place)
    line.promote("m0", 0)
    for number, one in enumerate(steps):
        line.world.before[line.world.calls + one["at"]] = lambda one=one, number=number: between(line, one, number)  # type: ignore[misc]  # of this round
        step(line, one["what"], one["period"], number)
        line.world.before.clear()
    line.minutes = count(next(line.minutes) + 120)
    line.promote("last", 9)
    register = line.register
    assert register.champion is not None
    assert (line.serving, register.promotion) == ("last", None)
    assert {"last", *kept(register)} <= line.world.models.keys()
    with suppress(BedrockFatalError):
        roll_back(line)
        assert line.serving not in {"last", *register.rejected, *register.retired}
        assert BAD not in line.serving


def between(line: Line, one: dict[str, Any], number: int) -> None:
    """What happens between two calls of a step."""
    if one["then"] == "kill":
        raise Killed
    if one["then"] == "stall":
        line.minutes = count(next(line.minutes) + 120)
    elif one["then"] != "nothing":
        step(line, one["then"], 5 - one["period"], 100 + number)


def step(line: Line, what: str, period: int, number: int) -> None:
    with suppress(BedrockError, NotPromotedError, Killed):
        match what:
            case "roll back":
                roll_back(line)
            case "retire":
                line.retire()
            case "delete the deployment":
                line.world.deployments.clear()
            case _:
                bad = BAD if "bad" in what else "m"
                line.promote(f"{bad}-{period}-{number}", period, run=f"run {number}")
