"""What a message says about a task: by what it has pushed, by how it failed, through any of Airflow's notifiers."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from airflow.sdk import BaseNotifier, TaskInstanceState

from airflow_bedrock.base_models import base_model
from airflow_bedrock.customization import model_rules
from airflow_bedrock.customization.job import Job
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.jobs.resources import NEW
from airflow_bedrock.jobs.resources.customization_job import failure_message
from airflow_bedrock.notifications import BedrockNotifier, message
from airflow_bedrock.shown import EVALUATION, JOB, PROMOTION, job_shown, rollback_shown
from airflow_bedrock.spend.budget import BudgetError

AWS = "https://bedrock.us-east-1.amazonaws.com"
JOB_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/mnopqrstuvwx"
COMPLETED = Job(arn=JOB_ARN, name="router-1", status="Completed", model_arn=MODEL, training_loss=0.51234)


class Telling(BaseNotifier):
    """A notifier as any channel has one."""

    template_fields = ("text",)

    def __init__(self, text: str, told: list[str]) -> None:
        super().__init__()
        self.text = text
        self.told = told

    def notify(self, context: Any) -> None:
        self.told.append(self.text)


class Broken(BaseNotifier):
    def notify(self, context: Any) -> None:
        raise ConnectionError("the channel is down")


def context(pushed: dict[str, Any] | None = None, *, map_index: int = -1, **more: Any) -> dict[str, Any]:
    def xcom_pull(*, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == ("customize", map_index)
        return (pushed or {}).get(key)

    ti = SimpleNamespace(
        dag_id="retrain",
        task_id="customize",
        run_id="run-1",
        map_index=map_index,
        xcom_pull=xcom_pull,
        log_url="http://af/airflow/dags/retrain?try_number=1",
    )
    return {"ti": ti, "dag": None, **more}


def test_a_job_that_has_ended() -> None:
    """What happened, the loss, the bill, and a link."""
    shown = job_shown(COMPLETED, AWS, bill=(Decimal("2.034"), "3 epochs"))
    said = message(context({JOB: shown}))
    assert said.subject == "Customization job router-1: Completed"
    for part in (
        "Loss: training 0.5123.",
        "Bill: 2.03 USD.",
        MODEL,
        JOB_ARN,
        "retrain.customize in run run-1",
        "http://af/airflow/dags/retrain?try_number=1",
    ):
        assert part in said.text
    assert "https://us-east-1.console.aws.amazon.com/bedrock/" in said.text
    assert "end of life" not in said.text
    local = message(context({JOB: job_shown(COMPLETED, "http://127.0.0.1:4566")})).text
    assert "http://127.0.0.1:4566" in local
    assert "console" not in local


def test_a_job_that_is_not_waited_for() -> None:
    """Its message has a word for the state of a job that was not polled yet."""
    known = job_shown(msgspec.structs.replace(COMPLETED, status=NEW, model_arn=None, training_loss=None), AWS)
    assert message(context({JOB: known})).subject == "Customization job router-1: Requested"


def test_a_task_that_failed_says_its_error() -> None:
    """Which has the service's reason, the bill and what to do; whatever was pushed before."""
    failed = msgspec.structs.replace(COMPLETED, status="Failed", failure_message="too few records", model_arn=None)
    error = BedrockFatalError(failure_message(failed))
    said = message(context({JOB: job_shown(failed, AWS)}, exception=error, map_index=2))
    assert said.subject == "retrain.customize[2] failed"
    assert "too few records" in said.text
    assert "costs nothing more" in said.text
    assert JOB_ARN in said.text
    assert "Local Bedrock" not in said.text
    local = job_shown(failed, "http://127.0.0.1:4566")
    assert (
        f"Local Bedrock: http://127.0.0.1:4566/_local/#{JOB_ARN}\n"
        in message(context({JOB: local}, exception=error)).text
    )


REPORT = {"verdict": "better", "reason": "It wins 9 of 10.", "cost": None}


@pytest.mark.parametrize(
    ("state", "error", "subject"),
    [
        (TaskInstanceState.RUNNING, None, "retrain.customize has started"),
        (TaskInstanceState.SKIPPED, None, "retrain.customize was skipped"),
        (TaskInstanceState.SUCCESS, None, "retrain.customize has ended"),
        (TaskInstanceState.UP_FOR_RETRY, ValueError("x"), "retrain.customize failed, and will be retried"),
        (TaskInstanceState.FAILED, ValueError("x"), "retrain.customize failed"),
    ],
)
def test_each_callback_says_what_has_happened(state: str, error: Exception | None, subject: str) -> None:
    """A task that starts, is skipped or is retried has not ended."""
    given = context(exception=error)
    given["ti"].state = state
    assert message(given).subject == subject


def test_an_evaluation() -> None:
    """By the page of its report, where it has one."""
    shown = {**REPORT, "report_uri": "s3://b/report.json"}
    said = message(context({EVALUATION: shown}))
    assert said.subject.endswith("better")
    assert "It wins 9 of 10.\nBill: unknown" in said.text
    assert "Report: s3://b/report.json\n" in said.text
    more = message(context({EVALUATION: shown | {"cost": 0.00123, "report_page": "https://console/report"}})).text
    assert "Bill: 0.00123 USD.\nReport: https://console/report\n" in more


def test_a_promotion_near_the_end_of_its_base_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text warns in time about a model that serves."""
    shown = {
        "name": "router",
        "model_arn": MODEL,
        "replaced": f"{MODEL}-old",
        "approved_by": "Ada",
        "evaluation": "s3://b/report.json",
    }
    said = message(context({PROMOTION: shown}))
    assert said.subject == "A promotion: mnopqrstuvwx serves as router"
    assert "It replaced mnopqrstuvwx-old" in said.text
    assert "Approved by Ada.\nEvaluation: s3://b/report.json\n" in said.text
    assert "end of life" not in said.text
    known = base_model(MODEL)
    assert known is not None
    today = datetime.now(UTC).date()
    legacy = msgspec.structs.replace(known, legacy=today, ends=today + timedelta(days=90))
    monkeypatch.setattr(model_rules, "base_model", lambda identifier: legacy)
    ends_soon = f"Nova Micro and its custom models reach their end of life on {legacy.ends} (days left: 90)."
    assert ends_soon in message(context({PROMOTION: shown})).text


def test_a_rollback() -> None:
    """It says who has done it, what serves again, and what does so no more."""
    said = message(context({PROMOTION: rollback_shown("router", MODEL, f"{MODEL}-new", "Ada")}))
    assert said.subject == "A rollback: mnopqrstuvwx serves as router"
    for part in ("Rolled back by Ada.", "It replaced mnopqrstuvwx-new, whose storage is billed", "console.aws.amazon"):
        assert part in said.text
    local = message(context({PROMOTION: rollback_shown("router", MODEL, None, "Ada", "http://127.0.0.1:4566")})).text
    assert "http://127.0.0.1:4566/_local/" in local
    assert "console" not in local


def test_a_task_that_is_over_the_budget() -> None:
    """Its error says by how much, and what to do."""
    said = message(context(exception=BudgetError("The budget for 2026-11 is 5.00 USD: 1.20 more than is left.")))
    assert said.subject == "retrain.customize is over the budget"
    assert "1.20 more than is left" in said.text
    assert "http://af/airflow/dags/retrain?try_number=1" in said.text


def test_a_gate_that_waits() -> None:
    """Until it has passed; then it has ended."""
    report = {**REPORT, "cost": 1.5}
    gate = SimpleNamespace(
        task_type="BedrockPromotionGate", report_uri="s3://b/report.json", report=report, answer_by=""
    )
    said = message(context(task=gate))
    assert said.subject == "retrain.customize waits for a person's approval"
    assert "It wins 9 of 10.\nBill: 1.50 USD.\nReport: s3://b/report.json\n" in said.text
    assert "Answer: http://af/airflow/dags/retrain/required_actions\n" in said.text
    gate.answer_by = "airflow-bedrock approve 1a2b --registry s3://b/registry"  # Airflow before 3.1 has no page
    text = message(context(task=gate)).text
    assert "Answer: airflow-bedrock approve 1a2b --registry s3://b/registry\n" in text
    assert "required_actions" not in text
    assert (
        message(context({"return_value": {"approved_by": "Ada"}}, task=gate)).subject == "retrain.customize has ended"
    )


@pytest.mark.parametrize(
    ("state", "report", "subject"),
    [
        (TaskInstanceState.RUNNING, {}, "retrain.customize has started"),
        (TaskInstanceState.SKIPPED, REPORT, "retrain.customize was skipped"),
        (TaskInstanceState.SKIPPED, {}, "retrain.customize was skipped"),
    ],
)
def test_a_gate_that_asks_nobody(state: str, report: dict[str, Any], subject: str) -> None:
    """Not yet, or not any more, as after a rejection: it was said to wait for a person."""
    given = context(task=SimpleNamespace(task_type="BedrockPromotionGate", report=report, report_uri="s3://b/r.json"))
    given["ti"].state = state
    assert message(given).subject == subject


def test_where_nothing_can_be_read_nothing_is_claimed() -> None:
    """After the loss of a worker Airflow calls from elsewhere, where there are no XComs and no address of the log."""

    def refuse(**_: Any) -> None:
        raise RuntimeError("no XComs here")

    ti = SimpleNamespace(dag_id="retrain", task_id="customize", run_id="run-1", map_index=None, xcom_pull=refuse)
    assert message({"ti": ti}) == (
        "retrain.customize has ended",
        "retrain.customize has ended\nTask: retrain.customize in run run-1",
    )


def test_each_notifier_is_called_with_the_text_each_time() -> None:
    """A notifier renders itself only once; a second task gets its own text. If one fails, the others are called."""
    told: list[str] = []
    telling = Telling("{{ bedrock_subject }}: {{ ti.run_id }}", told)
    notifier = BedrockNotifier(Broken(), telling)
    for name in ("router-1", "router-2"):
        shown = job_shown(msgspec.structs.replace(COMPLETED, name=name), AWS)
        with suppress(ConnectionError):  # Airflow 3.0 logs it instead
            notifier(context({JOB: shown}))
    assert told == [f"Customization job {name}: Completed: run-1" for name in ("router-1", "router-2")]
