"""Promotion: an older or rejected model never serves for good, and at each call exactly one model serves."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.registry.register import ModelVersion, NotPromotedError, Register, kept, proposed, start_of
from airflow_bedrock.registry.serving import name_for
from airflow_bedrock.shapes import input_shape, problems
from tests.unit.registry.lines import BAD, NAME, START, Line
from tests.unit.registry.world import Killed, refused


@pytest.fixture(params=[True, False], ids=["in place", "by pointer"])
def line(request: pytest.FixtureRequest) -> Line:
    return Line(in_place=request.param)


def test_a_newer_model_takes_the_champions_place_and_an_older_one_does_not(line: Line) -> None:
    """Whatever the order in which a backfill ends."""
    line.promote("m2", 2)
    line.promote("m4", 4)
    with pytest.raises(NotPromotedError, match="older than the champion's"):
        line.promote("m3", 3)
    assert (line.serving, line.register.champion.model_arn) == ("m4", "m4")  # type: ignore[union-attr]  # there is one
    assert [one.model_arn for one in line.register.previous] == ["m2"]


def test_two_at_once_that_were_compared_with_the_same_champion(line: Line) -> None:
    """The second one may be worse than the first: it is promoted once it was compared with that."""
    line.promote("m1", 1, compared_with="amazon.nova-micro-v1:0")  # nothing served
    line.promote("m2", 2, compared_with="m1")
    with pytest.raises(NotPromotedError, match="it was compared with m1, but m2 serves now"):
        line.promote("m3", 3, compared_with="m1")
    assert line.serving == "m2"
    line.promote("m3", 3, compared_with="m2")
    line.promote("m3", 3, compared_with="m2")  # a retry, or a Clear
    assert line.serving == "m3"


@pytest.mark.parametrize("number", range(1, 6))
def test_a_newer_model_that_is_promoted_while_an_older_one_is_refused_goes_on_serving(line: Line, number: int) -> None:
    """The one that was refused put the former champion back for a moment, by a register that it had read before."""
    line.promote("m2", 2)
    served = []

    def within() -> None:
        line.promote("m3", 3, run="another")
        line.world.changed = lambda: served.append(line.serving)

    line.world.before[line.world.calls + number] = within
    with suppress(NotPromotedError):
        line.promote("m1", 1)
    assert set(served) <= {"m3"}


def test_a_comparison_with_what_a_kill_or_a_person_has_left_is_one(line: Line) -> None:
    """What serves in the middle of another promotion, or by hand, is what was asked: nobody stands in the way."""
    line.promote("m1", 1)
    calls = calls_of_a_promotion(in_place=line.deployments().in_place, model="m2")
    line.world.before[line.world.calls + calls] = killed
    with pytest.raises(Killed):
        line.promote("m2", 2)
    served = line.serving
    line.minutes = count(next(line.minutes) + 120)
    line.promote("m3", 3, run="another", compared_with=served)
    assert line.serving == "m3"
    line.world.deployments[next(iter(reversed(line.world.deployments)))]["modelArn"] = "by hand"
    line.promote("m4", 4, compared_with="by hand")
    assert line.serving == "m4"


def test_a_promotion_again_changes_nothing(line: Line) -> None:
    """A cleared task, or a retry after its last call, finds its model serving."""
    line.promote("m1", 1)
    objects = dict(line.world.objects)
    line.promote("m1", 1, run="again")
    assert line.world.objects == objects


def test_a_model_that_fails_its_smoke_test_gives_its_place_back(line: Line) -> None:
    """And is never promoted again."""
    line.promote("m1", 1)
    with pytest.raises(BedrockFatalError, match=r"answer was empty.*champion m1 serves"):
        line.promote(BAD, 2)
    assert line.serving == "m1"
    with pytest.raises(NotPromotedError, match="smoke test"):
        line.promote(BAD, 2)


@pytest.mark.parametrize("champion", ["m1", None])
def test_a_smoke_test_that_may_not_be_run_rejects_no_model(line: Line, champion: str | None) -> None:
    """The champion's place is given back; with the permission, the same model is promoted: it was paid for."""
    if champion:
        line.promote(champion, 1)
    line.is_denied = True
    with pytest.raises(BedrockFatalError, match="Allow bedrock:InvokeModel"):
        line.promote("m2", 2)
    if champion:
        assert line.serving == champion
    else:
        assert line.world.deployments == {}
    assert line.register.rejected == ()
    line.is_denied = False
    line.promote("m2", 2)
    assert line.serving == "m2"


def test_a_throttled_poll_does_not_end_the_wait(line: Line) -> None:
    """Of a deployment that is being made: the service answers again later."""
    line.promote("m1", 1)
    [deployment] = line.world.deployments.values()
    deployment["status"] = "Creating"

    def throttle() -> None:
        deployment["status"] = "Active"
        raise refused("ThrottlingException", "GetCustomModelDeployment")

    line.world.before[line.world.calls + 2] = throttle
    assert line.deployments().serving(line.register) == "m1"


def test_a_deployment_that_is_never_ready_ends_the_task(line: Line) -> None:
    """After ``waiter_max_attempts`` polls; a retry waits again."""
    line.promote("m1", 1)
    [deployment] = line.world.deployments.values()
    deployment["status"] = "Creating"
    with pytest.raises(BedrockError, match=r"is still Creating after 3 polls.*costs nothing while nobody calls it"):
        line.deployments().serving(line.register)


def test_a_model_that_cannot_be_deployed_does_not_block_others(line: Line) -> None:
    """It was deleted since, say: the service refuses it for good, the champion serves, and the next one may come."""
    line.promote("m1", 1)
    line.train("gone")
    del line.world.models["gone"]
    with pytest.raises(BedrockFatalError, match="ResourceNotFound"):
        line.promote("gone", 2)
    assert (line.serving, line.register.promotion) == ("m1", None)
    line.promote("m3", 3, run="another")
    assert line.serving == "m3"


def test_a_first_deployment_that_fails_does_not_block_the_line(line: Line) -> None:
    """It serves nothing, and has the name that the next one needs; the model itself may be tried again."""
    line.world.undeployable = {"m1"}
    with pytest.raises(BedrockFatalError, match="cannot be used, it is Failed"):
        line.promote("m1", 1)
    assert (line.register.champion, line.register.promotion) == (None, None)
    line.promote("m2", 2, run="another")
    assert line.serving == "m2"
    line.promote("m3", 3, run="a third")
    assert line.serving == "m3"


def test_a_model_is_deployed_again_after_its_deployment_failed(line: Line) -> None:
    """The failed one is deleted first."""
    line.world.undeployable = {"m1"}
    with pytest.raises(BedrockFatalError, match="cannot be used, it is Failed"):
        line.promote("m1", 1)
    line.world.undeployable.clear()
    line.promote("m1", 1)
    assert line.serving == "m1"
    assert [one["status"] for one in line.world.deployments.values()] == ["Active"]


@pytest.mark.parametrize(
    ("period", "start"),
    [
        ("2026", "2026-01-01 00:00:00"),
        ("2026-03", "2026-03-01 00:00:00"),
        ("2026-03-01T02:00:00+02:00", "2026-03-01 00:00:00"),
    ],
)
def test_a_period_starts_in_utc(period: str, start: str) -> None:
    """Wherever the worker is: a time without a zone is UTC, as Airflow's are."""
    assert str(start_of(period)) == start


def test_a_first_model_that_fails_its_smoke_test_leaves_nothing(line: Line) -> None:
    """Nothing served before it, so nothing serves after it."""
    with pytest.raises(BedrockFatalError, match="its deployment was deleted"):
        line.promote(BAD, 1)
    assert line.world.deployments == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_first_model_that_fails_its_smoke_test_and_is_killed_leaves_nothing(line: Line, when: str) -> None:
    """At any call: the next try deletes its deployment; it was skipped, and the model went on serving."""
    in_place = line.deployments().in_place
    for number in range(1, 20):
        line = Line(in_place=in_place)
        getattr(line.world, when)[number] = killed
        with suppress(Killed, BedrockError):
            line.promote(BAD, 1)
        line.world.before.clear()
        line.world.after.clear()
        with suppress(BedrockError, NotPromotedError):
            line.promote(BAD, 1)
        assert line.world.deployments == {}, number


def test_a_champion_that_cannot_be_put_back_is_named() -> None:
    """A person has deleted its deployment and the model itself: the next promotion fails its smoke test."""
    line = Line(in_place=True)
    line.promote("m1", 1)
    line.world.deployments.clear()
    del line.world.models["m1"]
    for _ in range(2):
        with pytest.raises(BedrockFatalError, match=r"bad was not promoted to router, but the champion m1 cannot"):
            line.promote(BAD, 2)
    line.world.deployments.clear()
    line.promote("m3", 3)
    assert line.serving == "m3"


def test_what_a_person_has_deployed_by_hand_is_the_champion() -> None:
    """The deployment is the truth of who serves; the register follows it."""
    line = Line(in_place=True)
    line.promote("m1", 1)
    line.world.deployments[NAME]["modelArn"] = "by hand"
    line.promote("m2", 2)
    assert [one.model_arn for one in line.register.previous] == ["by hand", "m1"]


def test_no_older_model_replaces_one_deployed_by_hand() -> None:
    """Its period is unknown; that of the champion before it counts."""
    line = Line(in_place=True)
    line.promote("m4", 4)
    line.world.deployments[NAME]["modelArn"] = "by hand"
    with pytest.raises(NotPromotedError, match="older than the champion's, 2004"):
        line.promote("m3", 3)
    assert line.serving == "by hand"
    line.promote("m5", 5)
    assert line.serving == "m5"


def test_a_model_that_serves_by_hand_is_recorded_when_it_is_promoted() -> None:
    """Or by another registry, whose promotion was killed: it was not, and a model of an older period replaced it."""
    line = Line(in_place=True)
    line.promote("m1", 1)
    line.train("m3")
    line.world.deployments[NAME]["modelArn"] = "m3"
    line.promote("m3", 3, compared_with="m1")
    champion = line.register.champion
    assert champion is not None
    assert (champion.model_arn, champion.period, champion.promoted_by) == ("m3", "2003", "run")
    with pytest.raises(NotPromotedError, match="older than the champion's, 2003"):
        line.promote("m2", 2)


def test_a_model_without_a_period_does_not_replace_one_with_a_period(line: Line) -> None:
    """It may be older: a template that finds no period renders nothing. Without periods, models have no order."""
    undated = ModelVersion(model_arn="undated", promoted_by="run")
    line.train("undated")
    line.promoter().promote(NAME, undated)
    line.promote("m4", 4)
    line.train("late")
    with pytest.raises(NotPromotedError, match="it has no period, and the champion's is 2004, so it may be older"):
        line.promoter().promote(NAME, ModelVersion(model_arn="late", promoted_by="run"))
    assert line.serving == "m4"


def test_a_champion_without_a_period_does_not_let_an_older_model_pass() -> None:
    """An earlier version let it replace one with a period, which still counts."""
    champion, before = ModelVersion(model_arn="undated"), ModelVersion(model_arn="m4", period="2004")
    register = Register(name=NAME, champion=champion, previous=(before,))
    with pytest.raises(NotPromotedError, match="older than the champion's, 2004"):
        proposed(register, ModelVersion(model_arn="m3", period="2003"), START)


def test_a_deployment_that_was_deleted_by_hand_is_made_again(line: Line) -> None:
    """By the champion's own promotion, by the next one, and by a rollback."""
    line.promote("m1", 1)
    line.world.deployments.clear()
    found = line.promote("m1", 1)
    assert line.world.model_of(str(found.deployment_arn)) == line.serving == "m1"
    line.world.deployments.clear()
    line.promote("m2", 2)
    assert line.serving == "m2"
    line.world.deployments.clear()
    line.promoter().roll_back(NAME, "ann")
    assert line.serving == "m1"


def test_a_champion_that_was_deleted_is_replaced_and_is_nothing_to_roll_back_to(line: Line) -> None:
    """The rollback fails and says so; what serves goes on serving, and the next promotion is not in its way."""
    line.promote("m1", 1)
    line.world.deployments.clear()
    del line.world.models["m1"]
    line.promote("m2", 2)
    with pytest.raises(BedrockFatalError, match="ResourceNotFound"):
        line.promoter().roll_back(NAME, "ann")
    assert line.serving == "m2"
    line.promote("m3", 3)
    assert line.serving == "m3"


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by pointer"])
def test_a_promotion_beyond_its_lease_gives_way_to_another_at_any_call(in_place: bool) -> None:
    """It was thought dead, and wakes up after the other one has ended, or is killed then: that one's model serves."""
    for number in range(1, 1 + calls_of_a_promotion(in_place=in_place, model="m2")):
        for killed_then in (False, True):
            line = Line(in_place=in_place)
            line.promote("m1", 1)

            def overtaken(line: Line = line, killed_then: bool = killed_then) -> None:
                line.minutes = count(next(line.minutes) + 120)
                line.promote("m3", 3, run="another")
                if killed_then:
                    raise Killed

            line.world.changed = lambda line=line: assert_one_serves(line)  # type: ignore[misc]  # the line of this round
            line.world.before[line.world.calls + number] = overtaken
            for _ in range(2):  # and its retry
                with suppress(BedrockError, NotPromotedError, Killed):
                    line.promote("m2", 2)
            assert (line.serving, line.register.promotion) == ("m3", None), (number, killed_then)


def test_two_registries_with_a_line_of_one_name() -> None:
    """Each takes the other's promotions for changes by hand: one model serves, and neither lets an older one in."""
    line = Line(in_place=True)
    line.promote("m2", 2)
    other = Line(in_place=True)
    other.world, other.minutes, other.folder = line.world, line.minutes, "other"
    other.promote("n3", 3)
    with pytest.raises(NotPromotedError):
        line.promote("m1", 1)
    assert (line.serving, len(line.world.deployments)) == ("n3", 1)
    line.promote("m4", 4)
    other.retire()
    assert (line.serving, other.serving) == ("m4", "m4")


def test_a_rollback_lets_the_earlier_model_serve_and_rejects_the_later(line: Line) -> None:
    """A retrain of the same period may be promoted; the model that was rolled back may not."""
    line.promote("m1", 1)
    line.promote("m2", 2)
    line.promoter().roll_back(NAME, "ann")
    assert line.serving == "m1"
    assert line.register.champion.promoted_by == "ann"  # type: ignore[union-attr]  # there is one
    with pytest.raises(NotPromotedError, match="rolled back"):
        line.promote("m2", 2)
    line.promote("m2 anew", 2)
    assert line.serving == "m2 anew"
    line.promoter().roll_back(NAME, "ann", "m2")
    assert line.serving == "m2"
    with pytest.raises(BedrockFatalError, match="has never served"):
        line.promoter().roll_back(NAME, "ann", "m9")


def test_a_rollback_takes_back_a_promotion_that_a_kill_has_left(line: Line) -> None:
    """The champion serves, and the model that was on its way does not come back."""
    line.promote("m1", 1)
    line.world.before[line.world.calls + 6] = killed
    with pytest.raises(Killed):
        line.promote("m2", 2)
    line.promoter().roll_back(NAME, "ann")
    assert line.serving == "m1"
    with pytest.raises(NotPromotedError):
        line.promote("m2", 2)


def killed() -> None:
    raise Killed


def calls_of_a_promotion(*, in_place: bool, model: str) -> int:
    line = Line(in_place=in_place)
    line.promote("m1", 1)
    before = line.world.calls
    with suppress(BedrockError):
        line.promote(model, 2)
    return line.world.calls - before


@pytest.mark.parametrize(("in_place", "calls"), [(True, 7), (False, 6)], ids=["in place", "by pointer"])
def test_the_first_promotion_makes_each_call_once(in_place: bool, calls: int) -> None:
    """Read and write the register twice; before and after the deployment is created, read it by its name."""
    line = Line(in_place=in_place)
    line.promote("m1", 1)
    assert line.world.calls == calls
    assert line.deployments().put(line.register, "m1") == line.register.deployment_arn
    assert line.world.calls == calls + 1  # it serves already


@pytest.mark.parametrize("model", ["m2", BAD])
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by pointer"])
def test_a_promotion_that_is_killed_at_any_call_is_ended_by_its_next_try(in_place: bool, model: str) -> None:
    """At each call one model serves; the next try ends as if nothing had happened."""
    calls = calls_of_a_promotion(in_place=in_place, model=model)
    assert calls >= 5
    for number in range(1, calls + 1):
        for when in ("before", "after"):
            line = Line(in_place=in_place)
            line.promote("m1", 1)
            line.world.changed = lambda line=line: assert_one_serves(line)  # type: ignore[misc]  # the line of this round
            getattr(line.world, when)[line.world.calls + number] = killed
            with suppress(Killed, BedrockError):
                line.promote(model, 2)
            with suppress(BedrockError, NotPromotedError):
                line.promote(model, 2)
            assert line.serving == ("m1" if model == BAD else "m2"), (number, when)
            assert line.register.promotion is None


def assert_one_serves(line: Line) -> None:
    assert line.serving


OTHERS = st.fixed_dictionaries(
    {
        "period": st.integers(1, 6),
        "bad": st.booleans(),
        "stalled": st.booleans(),
        "at": st.integers(1, 12),
        "what": st.sampled_from(["nothing", "kill before", "kill after", "another within", "retirement within"]),
        "then": st.sampled_from(["nothing", "retire", "retire and be killed", "retire within a promotion"]),
    }
)


@given(in_place=st.booleans(), runs=st.lists(OTHERS, min_size=2, max_size=8))
@settings(max_examples=200)
def test_whatever_happens_in_whatever_order(in_place: bool, runs: list[dict[str, Any]]) -> None:
    """Kills at any call, two at once, promotions longer than their lease, retirements: the newest good model serves.

    What serves, and what a rollback needs, is never deleted.
    """
    line = Line(in_place=in_place)
    line.promote("m0", 0)
    confirmed = [0]

    def serves() -> None:
        assert line.serving
        champion = line.register.champion
        assert champion is not None
        assert BAD not in champion.model_arn
        period = int(champion.period or "") - 2000
        assert period >= confirmed[-1], "an older model has become champion"
        confirmed.append(period)
        assert {line.serving, *kept(line.register)} <= line.world.models.keys()

    line.world.changed = serves
    for number, run in enumerate(runs):
        attempt(line, number, run, runs[: number % 2])
        tidy(line, number, run)
    settle(line)
    line.retire()
    assert line.world.models.keys() == {line.serving, *kept(line.register)}
    champion = line.register.champion
    assert champion is not None
    assert line.serving == champion.model_arn
    assert BAD not in line.serving


def attempt(line: Line, number: int, run: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Run a promotion, in which something happens at one of its calls."""
    at = line.world.calls + run["at"]
    match run["what"]:
        case "kill before":
            line.world.before[at] = killed
        case "kill after":
            line.world.after[at] = killed
        case "another within":
            line.world.before[at] = lambda: within(line, number, run, others)
        case "retirement within":
            line.world.before[at] = lambda: retire(line)
    promote(line, number, run)
    line.world.before.clear()
    line.world.after.clear()


def tidy(line: Line, number: int, run: dict[str, Any]) -> None:
    """Run a retirement, in which something may happen at one of its calls."""
    at = line.world.calls + run["at"]
    match run["then"]:
        case "nothing":
            return
        case "retire and be killed":
            line.world.before[at] = killed
        case "retire within a promotion":
            line.world.before[at] = lambda: promote(line, 200 + number, run)
    retire(line)
    line.world.before.clear()


def retire(line: Line) -> None:
    with suppress(BedrockError, Killed):
        line.retire()


def within(line: Line, number: int, run: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Another task's whole promotion, between two calls of this one; perhaps when its lease has run out."""
    if run["stalled"]:
        line.minutes = count(next(line.minutes) + 120)
    for other in [*others, {"period": 7 - run["period"], "bad": False}]:
        promote(line, 100 + number, other)


def promote(line: Line, number: int, run: dict[str, Any]) -> None:
    with suppress(BedrockError, NotPromotedError, Killed):
        line.promote(f"{BAD if run['bad'] else 'm'}-{run['period']}-{number}", run["period"], run=f"run {number}")


def settle(line: Line) -> None:
    """A last promotion, after all leases: of the newest period, or refused."""
    line.minutes = count(next(line.minutes) + 120)
    line.promote("last", 9, run="last")


@pytest.mark.parametrize("name", ["a" * 53 + "-" + "b" * 9, "a" * 63, "a_" * 31 + "b", "router"])
def test_a_models_own_deployment_has_a_name_that_the_service_takes(name: str) -> None:
    """However long the line's is, and wherever it is cut: no two dashes follow each other."""
    member = input_shape("bedrock", "CreateCustomModelDeployment").members["modelDeploymentName"]
    assert not problems(member, name)
    assert not problems(member, name_for(name, "arn:aws:bedrock:us-east-1:123456789012:custom-model/m"))
