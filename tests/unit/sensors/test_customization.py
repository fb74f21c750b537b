"""The sensor refuses what cannot apply, and gives the trigger what it needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization import serialized_objects

from airflow_bedrock.compat import AirflowException
from airflow_bedrock.customization.waiters import OWN_RUN
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.sensors import BedrockModelCustomizationSensor


def sensor(**arguments: Any) -> BedrockModelCustomizationSensor:
    return BedrockModelCustomizationSensor(**{"task_id": "wait", "job_identifier": "router-1", **arguments})


def test_it_waits_in_the_triggerer_unless_a_mode_is_given() -> None:
    """Who asks for poke or reschedule means a worker."""
    assert sensor().deferrable
    assert not sensor(mode="poke").deferrable
    assert not sensor(mode="reschedule").deferrable
    assert sensor(mode="poke", deferrable=True).deferrable
    assert not sensor(deferrable=False).deferrable


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "reschedule", "deferrable": True}, "reschedule"),
        ({"mode": "sleep"}, "mode"),
        ({"job_identifier": None}, "job_identifier"),
        ({"job_name": "other"}, "job_identifier"),
        ({"poke_interval": 0}, "poke_interval"),
        ({"stop_on_kill": True, "mode": "reschedule"}, "stop_on_kill"),
        ({"no_response_timeout": -1}, "no_response_timeout"),
        ({"no_response_timeout": "60"}, "no_response_timeout"),
        ({"soft_fail": True, "never_fail": True}, "mutually exclusive"),
    ],
)
def test_what_cannot_apply_is_refused_when_the_dag_is_parsed(wrong: dict[str, Any], message: str) -> None:
    """With an error that names the argument."""
    with pytest.raises((ValueError, AirflowException), match=message):  # Airflow's own, before 3.1, is the latter
        sensor(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_identifier": None},
        {"poke_interval": 0},
        {"no_response_timeout": -1},
        {"mode": "reschedule", "deferrable": True},
        {"stop_on_kill": True, "mode": "reschedule"},
        {"stop_on_kill": "False"},
        {"deferrable": "{{ params.deferrable }}"},
    ],
    ids=str,
)
def test_what_a_mapped_sensor_cannot_do_is_not_retried(wrong: dict[str, Any]) -> None:
    """It gets these values only when it runs."""
    with pytest.raises(BedrockFatalError, match=next(iter(wrong))):
        sensor(**wrong)


def test_the_default_interval_is_the_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section [bedrock]; an argument goes before it."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__POLL_INTERVAL", "7")
    assert sensor().poke_interval == 7
    assert sensor(poke_interval=timedelta(minutes=2)).poke_interval == 120
    assert sensor(poke_interval=0, mode="poke").poke_interval == 0


def test_the_upstream_sensors_name_of_the_argument_works() -> None:
    """Changing the import is all that moving over takes."""
    assert BedrockModelCustomizationSensor(task_id="wait", job_name="router-1").job_identifier == "router-1"


def trigger_arguments(**arguments: Any) -> dict[str, Any]:
    return sensor(**arguments)._trigger().serialize()[1]


def test_the_trigger_polls_as_often_as_the_sensor_says() -> None:
    """Interval, backing off and the longest pause."""
    plain = trigger_arguments(poke_interval=30)
    assert (plain["poll_interval"], plain["poll_interval_max"], plain["backoff"]) == (30, 600, False)
    backing_off = trigger_arguments(poke_interval=30, exponential_backoff=True, max_wait=timedelta(minutes=20))
    assert (backing_off["poll_interval"], backing_off["poll_interval_max"], backing_off["backoff"]) == (30, 1200, True)
    assert trigger_arguments(poke_interval=90, max_wait=60)["poll_interval"] == 60


def test_silent_fail_has_no_response_timeout() -> None:
    """The time-out alone ends the wait."""
    assert trigger_arguments()["no_response_timeout"] == 3600
    assert trigger_arguments(no_response_timeout=5)["no_response_timeout"] == 5
    assert trigger_arguments(no_response_timeout=timedelta(hours=2))["no_response_timeout"] == 7200
    assert trigger_arguments(no_response_timeout=5, silent_fail=True)["no_response_timeout"] == 0


def test_it_stops_the_job_only_where_asked_to() -> None:
    """By default only a job that its own run has asked for: it did not start it."""
    assert trigger_arguments()["stop_on_kill"] == OWN_RUN == "own run"  # which sensors that wait have asked for
    assert trigger_arguments(stop_on_kill=True)["stop_on_kill"] is True
    assert trigger_arguments(stop_on_kill=False)["stop_on_kill"] is False


@pytest.mark.parametrize("given", ["router-1", {"job_arn": "router-1", "status": "InProgress"}])
def test_it_takes_a_name_an_arn_or_an_operators_result(given: Any) -> None:
    """Whatever the task before it left."""
    assert trigger_arguments(job_identifier=given)["job_identifier"] == "router-1"


@pytest.mark.parametrize("given", ["", {}, {"job_arn": None}])
def test_a_template_that_rendered_to_nothing_has_a_clear_error(given: Any) -> None:
    """Not as an error of the service."""
    with pytest.raises(BedrockFatalError, match="names no job"):
        trigger_arguments(job_identifier=given)


def test_the_jobs_of_a_mapped_operator_are_not_taken_for_one() -> None:
    """The error says how to map the sensor; the service's would quote a regular expression, and be retried."""
    with pytest.raises(BedrockFatalError, match=r"one job.*\.expand\(job_identifier=.*billed"):
        trigger_arguments(job_identifier=["router-1", "router-2"])


def test_a_name_from_default_args_is_named_as_a_reason() -> None:
    """The DAG's author sees only one of the two on the sensor."""
    with pytest.raises(ValueError, match="got both, one of them perhaps from default_args"):
        BedrockModelCustomizationSensor(task_id="wait", job_identifier="a", default_args={"job_name": "b"})


def test_a_dag_with_it_can_be_serialized() -> None:
    """The scheduler never sees the object itself; it knows that it is a sensor that may be rescheduled."""
    with DAG("waits", schedule=None) as dag:
        sensor(mode="reschedule")
    # Its name before Airflow 3.2 was SerializedDAG.
    named: dict[str, Any] = vars(serialized_objects)
    serialization = named.get("DagSerialization") or named["SerializedDAG"]
    task = serialization.from_dict(serialization.to_dict(dag)).get_task("wait")
    assert task.task_type == "BedrockModelCustomizationSensor"
    assert task.reschedule


def test_the_old_name_of_the_response_timeout_warns() -> None:
    """And holds."""
    with pytest.warns(DeprecationWarning, match="silence_limit was renamed to no_response_timeout"):
        arguments = trigger_arguments(silence_limit=5)
    assert arguments["no_response_timeout"] == 5
