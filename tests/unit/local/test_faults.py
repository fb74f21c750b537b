"""Which fault strikes which call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.clock import ManualClock
from airflow_bedrock.local.faults import AnyFault, Drop, Error, Faults

SMALL = st.integers(0, 6)


def faults() -> tuple[Faults, ManualClock]:
    clock = ManualClock(1000.0)
    return Faults(clock.time), clock


@given(SMALL, st.none() | SMALL, st.integers(0, 15))
def test_a_fault_strikes_the_calls_that_it_is_for(skip: int, times: int | None, calls: int) -> None:
    """After `skip` calls it strikes `times` calls, and then no more; other operations count for nothing."""
    set_, _ = faults()
    set_.add(Error(operation="GetCustomModel", skip=skip, times=times, code="ConflictException"))
    struck = []
    for _ in range(calls):
        assert set_.plan("bedrock", "ListCustomModels").answer is None
        assert set_.plan("iam", "GetCustomModel").answer is None
        struck.append(set_.plan("bedrock", "GetCustomModel").answer is not None)
    last = calls if times is None else skip + times
    assert struck == [skip <= number < last for number in range(calls)]


@given(st.lists(st.floats(0, 5), max_size=8), st.floats(0, 20))
def test_a_fault_ends_with_its_time(pauses: list[float], seconds: float) -> None:
    """A fault that lasts for a while strikes until the clock has passed its end."""
    set_, clock = faults()
    begun = clock.time()
    set_.throttle(seconds=seconds)
    for pause in pauses:
        clock.advance(pause)
        stands = clock.time() < begun + seconds
        assert (set_.plan("bedrock", "Converse").answer is not None) == stands
        assert len(set_) == stands


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_of_several_faults_one_answers_and_none_is_lost(drops: list[bool]) -> None:
    """Faults for the same call answer one call each, the oldest first."""
    set_, _ = faults()
    given = [Drop(times=1) if drop else Error(times=1, code=f"Code{number}") for number, drop in enumerate(drops)]
    for fault in given:
        set_.add(fault)
    answers = [set_.plan("bedrock", "Converse").answer for _ in range(len(given) + 1)]
    assert answers == [*given, None]


def test_the_nth_call_fails_even_if_others_failed_for_another_reason() -> None:
    """The n-th call is counted from when the fault was set, calls that another fault struck among them."""
    set_, _ = faults()
    set_.throttle("GetCustomModel", times=2)
    set_.fail("GetCustomModel", "ConflictException", nth=3)
    answers = [set_.plan("bedrock", "GetCustomModel").answer for _ in range(4)]
    codes = [fault.code if isinstance(fault, Error) else None for fault in answers]
    assert codes == ["ThrottlingException", "ThrottlingException", "ConflictException", None]


def test_delays_add_up_and_leave_the_answer() -> None:
    """Delays add to whatever else happens, and the longest hiding counts."""
    set_, _ = faults()
    set_.delay("Get*", 1.5, times=1)
    set_.delay("*", 2)
    set_.hide_new_jobs(10)
    set_.hide_new_jobs(20)
    plan = set_.plan("bedrock", "GetModelCustomizationJob")
    assert (plan.delay, plan.age, plan.answer) == (3.5, 20, None)
    assert plan.effects == ("delay", "delay", "hide", "hide")
    assert set_.plan("bedrock-runtime", "Converse").delay == 2


def test_services() -> None:
    """Bedrock's faults strike its runtime too, S3's only S3, and expired credentials both."""
    set_, _ = faults()
    bedrock = set_.throttle(times=2)
    s3 = set_.throttle("PutObject", service="s3", times=1)
    assert set_.plan("s3", "GetObject").answer is None
    assert set_.plan("s3", "PutObject").answer is not None
    assert set_.plan("bedrock-runtime", "Converse").answer is not None
    assert [one.id for one in set_] == [bedrock]
    assert not set_.remove(s3)
    assert set_.remove(bedrock)
    set_.expire_credentials(times=2)
    assert set_.plan("iam", "ListRoles").answer is None
    assert {set_.plan(service, "Any").answer is not None for service in ("s3", "bedrock")} == {True}


def test_jobs_fail_in_the_phase_that_was_named() -> None:
    """A job's fault is for its phase and name, once by default, and affects no calls."""
    set_, _ = faults()
    set_.fail_job("training", "Out of luck", job="support-*")
    assert set_.job_failure("support-1", "validation") is None
    assert set_.job_failure("other", "training") is None
    assert set_.plan("bedrock", "CreateModelCustomizationJob").answer is None
    assert set_.job_failure("support-1", "training") == "Out of luck"
    assert set_.job_failure("support-1", "training") is None


@pytest.mark.parametrize(
    ("operation", "service", "struck"),
    [
        ("PutObject", None, {"s3"}),
        ("Converse", None, {"bedrock-runtime"}),
        ("*", None, {"bedrock", "bedrock-runtime"}),
        ("Put*", None, set()),
        ("Put*", "s3", {"s3"}),
        ("*", "*", {"bedrock", "bedrock-runtime", "s3"}),
    ],
)
def test_a_name_finds_its_service_and_a_pattern_means_bedrock(operation: str, service: Any, struck: set[str]) -> None:
    """A name strikes whichever service has it; a pattern strikes Bedrock, unless the service is named."""
    set_, _ = faults()
    set_.fail(operation, service=service, times=None)
    calls = [("bedrock", "GetCustomModel"), ("bedrock-runtime", "Converse"), ("s3", "PutObject"), ("iam", "PutRole")]
    assert {service for service, name in calls if set_.plan(service, name).answer} == struck


def test_a_misspelt_operation_is_reported() -> None:
    """A fault that no call could ever meet is an error, for a test with it could not fail."""
    set_ = Faults(lambda: 0.0, ["GetCustomModel"])
    set_.fail("Get*")
    with pytest.raises(ValueError, match="GetCustomModle"):
        set_.fail("GetCustomModle")


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "error"},
        {"effect": "error", "status": 200},
        {"effect": "delay"},
        {"effect": "hide"},
        {"effect": "fail-job", "message": "no phase"},
        {"effect": "fail-job", "phase": "lunch"},
        {"effect": "explode"},
        {"effect": "drop", "times": -1},
        {"effect": "drop", "opration": "Converse"},
        {"effect": "drop", "code": "ConflictException"},
        {"effect": "fail-job", "phase": "training", "operation": "Converse"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fault: dict[str, object]) -> None:
    """What is missing, misspelt or out of range is an error when the fault is set, and not ignored later."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fault, AnyFault)


def test_all_faults_can_be_removed() -> None:
    """After clear() nothing stands."""
    set_, _ = faults()
    set_.drop("Converse")
    set_.clear()
    assert len(set_) == 0
    assert set_.plan("bedrock", "Converse").answer is None
