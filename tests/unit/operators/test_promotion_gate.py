"""The gate: what the rule asks for and the report does not show is no promotion; so is whatever no person approved."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.compat import AirflowSkipException, TaskDeferred
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.evaluation.metrics import metric
from airflow_bedrock.evaluation.run import _Tally
from airflow_bedrock.evaluation.scoring import Rules, Scoring
from airflow_bedrock.exceptions import ArgumentError, BedrockFatalError
from airflow_bedrock.operators import BedrockPromotionGate
from airflow_bedrock.operators.promotion_gate import can_ask

BASE_MODEL = "amazon.nova-micro-v1:0:128k"
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
TI_ID = uuid.UUID(int=1)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """A report as the evaluation makes it: better by a lot, and no worse on any slice."""
    exact = metric("exact_match")
    scoring, tally = Scoring(["candidate", "baseline"], [exact], Rules()), _Tally()
    exact.learn("ec2")
    for number in range(1, 201):
        texts = {"candidate": "ec2", "baseline": "s3" if number % 2 else "ec2"}
        scoring.add(number, "ec2", texts, slice_name="even" if number % 2 == 0 else "odd")
        tally.add(Answer("ec2", "end_turn", 100, 10, 250))
    result: dict[str, Any] = scoring.result()
    for model in result["models"].values():
        model |= tally.result()
    written: dict[str, Any] = json.loads(json.dumps(result))
    return written


@pytest.fixture
def gated(report: dict[str, Any], tmp_path: Path) -> Any:
    """Runs a gate over the report, changed as a test wants it."""
    ti = TaskInstance()

    def gate(
        without: tuple[str, ...] = (),
        changes: Mapping[tuple[str, ...], Any] = {},  # it is not changed
        event: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Any:
        changed = json.loads(json.dumps(report))
        for (*outer, name), value in changes.items():
            reduce(getitem, outer, changed)[name] = value
        *path, last = without or ("nothing",)
        place = changed
        for name in path:
            place = place[name]
        place.pop(last, None)
        file = tmp_path / "report.json"
        file.write_text(json.dumps(changed))
        task = BedrockPromotionGate(task_id="gate", report_uri=str(file), region_name="us-east-1", **given)
        context: Any = {"ti": ti, "task_instance": ti, "task": task}
        return task.execute(context) if event is None else task.execute_complete(context, event)

    return gate


class Airflow:
    """What keeps the question of a task instance, whatever a later try asks, as Airflow does."""

    question: Any = None

    def send(self, msg: Any) -> Any:
        self.question = self.question or msg
        return self.question


class TaskInstance:
    """A task instance that keeps its XComs."""

    id, task_id, map_index = TI_ID, "gate", -1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, key: str, **_: Any) -> Any:
        return self.pushed.get(key)


def resumed() -> Any:
    """The context of a gate that an earlier version of this package has asked in."""
    return {"ti": TaskInstance()}


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    from airflow.sdk.execution_time import task_runner

    airflow = Airflow()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", airflow, raising=False)
    return airflow


ALL = {
    "minimum_gain": 0.1,
    "max_slice_loss": 0.01,
    "max_latency_ms": 1000,
    "max_cost": 100,
    "base_model_id": BASE_MODEL,
}


def test_what_the_report_shows_passes(gated: Any) -> None:
    """By each part of the rule, and nobody was asked."""
    assert not gated(**ALL).get("approved_by")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"minimum_gain": 0.9}, "not above 0.9"),
        ({"max_latency_ms": 200}, "250, more than 200"),
        ({"max_cost": 0.000001, "base_model_id": BASE_MODEL}, "more than 1e-06"),
        ({"metric": "chrf"}, "no interval for chrf"),
        ({"max_cost": 100, "base_model_id": "a.model-without-a-price"}, "answers, in USD, is unknown"),
    ],
)
def test_what_it_does_not_show_is_no_promotion(gated: Any, given: dict[str, Any], reason: str) -> None:
    """The task is skipped, with the reason; a price that nobody knows is one."""
    with pytest.raises(AirflowSkipException, match=reason):
        gated(**given)


def test_a_report_about_another_model_is_no_promotion(gated: Any) -> None:
    """Another run with the same output_uri has written it, or it does not name the model."""
    about = ("models", "candidate", "answered_by")
    assert gated(changes={about: MODEL}, model_arn=MODEL)
    for other in (f"{MODEL[:-1]}z", None):
        with pytest.raises(AirflowSkipException, match=f"the report is about {other}, not about {MODEL}"):
            gated(changes={about: other}, model_arn=MODEL)


@pytest.mark.parametrize("of", [("differences", "baseline", "exact_match"), ("slices", "even")], ids=".".join)
def test_what_a_judge_did_not_judge_counts_against_the_candidate(gated: Any, of: tuple[str, ...]) -> None:
    """The share of the records on which it could have said otherwise."""
    with pytest.raises(AirflowSkipException, match=r"begins at -0\.\d+|the slice even the difference is -0\.6"):
        gated(changes={(*of, "doubt"): 0.6}, **ALL)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("verdict", "the verdict is None"),
        ("metric", "no interval for None"),
        ("differences", "no interval for exact_match"),
        ("differences.baseline", "no interval for exact_match"),
        ("differences.baseline.exact_match.low", "no interval for exact_match"),
        ("slices", "the report has no slices: evaluate with slice_by"),
        ("slices.odd.value", "on the slice odd the difference is None"),
        ("models", "its latency .* is unknown"),
        ("models.candidate.latency_ms", "its latency .* is unknown"),
        ("models.candidate.latency_ms.p90", "its latency .* is unknown"),
        ("models.candidate.input_tokens", "the cost of 1,000 answers, in USD, is unknown"),
        ("models.candidate.output_tokens", "the cost of 1,000 answers, in USD, is unknown"),
        ("models.candidate.n", "the cost of 1,000 answers, in USD, is unknown"),
    ],
)
def test_whatever_is_missing_fails_closed(gated: Any, missing: str, reason: str) -> None:
    """These are the names by which the evaluation's report says it: another name there fails this test."""
    with pytest.raises(AirflowSkipException, match=reason):
        gated(without=tuple(missing.split(".")), **ALL)


LOW, P90 = ("differences", "baseline", "exact_match", "low"), ("models", "candidate", "latency_ms", "p90")


INVALID: dict[tuple[str, ...], list[Any]] = {  # place → values that are invalid there
    LOW: [2.0, float("nan"), float("inf"), 10**400, "0.9", True, [0.9], None],
    P90: [float("-inf"), -1, "fast", {}],
    ("slices", "odd", "value"): [float("nan"), float("inf"), "0"],
    ("models", "candidate", "input_tokens"): [-(10**9), "100", float("nan")],
    ("metric",): [["exact_match"], {}, 3],
    **{(name,): [[], "better?", 1] for name in ("slices", "models", "differences", "verdict")},
}


@pytest.mark.parametrize(("place", "value"), [(place, value) for place, values in INVALID.items() for value in values])
def test_an_invalid_figure_fails_closed(gated: Any, place: tuple[str, ...], value: Any) -> None:
    """Also where a person has edited the report; the task is skipped, and says why."""
    with pytest.raises(AirflowSkipException, match="The candidate is not promoted: "):
        gated(changes={place: value}, **ALL)


def test_a_limit_itself_is_allowed(gated: Any) -> None:
    """Each limit is the most that is allowed, and zero is a figure; the gain has to be more than the least."""
    odd = ("slices", "odd", "value")
    gated(changes={P90: 0, odd: -0.25}, max_latency_ms=0, max_slice_loss=0.25, minimum_gain=0.1)
    with pytest.raises(AirflowSkipException, match=r"begins at 0\.1, which is not above 0\.1"):
        gated(changes={LOW: 0.1}, minimum_gain=0.1)


def test_a_worse_slice_is_no_promotion(gated: Any, report: dict[str, Any]) -> None:
    """However good the whole is."""
    report["slices"]["odd"]["value"], before = -0.2, report["slices"]["odd"]["value"]
    with pytest.raises(AirflowSkipException, match=r"on the slice odd the difference is -0\.2"):
        gated(max_slice_loss=0.1)
    gated(max_slice_loss=0.3)
    report["slices"]["odd"]["value"] = before


@pytest.mark.parametrize(
    "wrong",
    [
        *({"approvers": one} for one in ("", None, 3, [""], [None], [{"id": "ann"}], {"id": "", "name": "Ann"})),
        *({"approval_timeout": one} for one in (0, -1, float("nan"), float("inf"), "long", None)),
        *({"minimum_gain": one} for one in (-0.1, "much", float("nan"), None)),
        {"on_timeout": "approve"},
        {"ask_approval": "perhaps"},
    ],
    ids=str,
)
def test_what_would_let_anybody_approve_breaks_the_dag(wrong: dict[str, Any]) -> None:
    """An empty name, a time limit of zero, a gain below zero."""
    with pytest.raises(ArgumentError):
        BedrockPromotionGate(task_id="gate", report_uri="s3://bucket/report.json", **wrong)


def test_prices_that_cannot_be_read_are_named(gated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what to correct, and without another try: they were a ValueError of nobody."""
    (tmp_path / "prices.toml").write_text("no = [")
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", str(tmp_path / "prices.toml"))
    with pytest.raises(BedrockFatalError, match=r"prices\.toml are not in the form .* Correct the file"):
        gated(max_cost=1, base_model_id=BASE_MODEL)


def test_a_cost_needs_a_model() -> None:
    """By whose price it is counted."""
    with pytest.raises(ValueError, match="max_cost needs base_model_id"):
        BedrockPromotionGate(task_id="gate", report_uri="s3://bucket/report.json", max_cost=1)


@pytest.mark.parametrize(("version", "can"), [("3.0.6", False), ("3.1.0", True), ("3.3.2", True)])
def test_airflow_asks_a_person_since_3_1(monkeypatch: pytest.MonkeyPatch, version: str, *, can: bool) -> None:
    """Before, ``airflow-bedrock approve`` answers."""
    monkeypatch.setattr("airflow.__version__", version)
    assert can_ask() == can


@pytest.mark.skipif(not can_ask(), reason="Airflow < 3.1")
class TestPerson:
    """With a person."""

    @staticmethod
    def gate(**given: Any) -> BedrockPromotionGate:
        given = {"approvers": ["ann"], "approval_timeout": 60, **given}
        return BedrockPromotionGate(task_id="gate", report_uri="s3://bucket/report.json", ask_approval=True, **given)

    def test_the_person_is_asked_with_the_figures(self, gated: Any, airflow: Any) -> None:
        """By Airflow's own operator, whose answer comes back to this task."""
        told: list[Any] = []
        raised = self.ask(gated, notifiers=told.append)
        assert vars(raised)["method_name"] == "execute_complete"
        asked = airflow.question
        assert (asked.ti_id, [one.id for one in asked.assigned_users]) == (TI_ID, ["ann"])
        assert (asked.options, asked.defaults) == (["Approve", "Reject"], ["Reject"])
        for row in (
            "| exact_match | 1 | 0.5 |",
            "| questions | 200 | 200 |",
            "| latency (p90, ms) | 250 | 250 |",
            "Difference in exact_match: 0.5 (0.43 to 0.57)",
            "On the worst of 2 slices, even: 0",
            "May be approved by: ann",
        ):
            assert row in asked.body.splitlines()
        assert "**better**" in asked.body
        [context] = told
        assert context["task"].report["verdict"] == "better"  # what a notification is made of

    def test_a_text_of_a_record_forges_no_figure(self, gated: Any, airflow: Any, report: dict[str, Any]) -> None:
        """The name of a slice is one: it makes no row of the table, no link, and no tag."""
        name = "en\n\x1b\u202e| exact_match | 1 | 0 |\n[all is well](https://example.com)<img src=x>"
        self.ask(gated, changes={("slices", name): {**report["slices"]["odd"], "value": -0.1}})
        body = airflow.question.body
        assert "slices, en / exact_match / 1 / 0 / [all is well] (https://example.com)(img src=x): -0.1" in body

    def test_a_clear_asks_about_what_the_person_is_shown_or_nobody(self, gated: Any, airflow: Any) -> None:
        """Airflow keeps the question of the first ask: with another report, or other approvers, nobody is asked."""
        self.ask(gated)
        self.ask(gated)
        told: list[Any] = []
        for given in ({"without": ("models", "candidate", "n")}, {"approvers": ["ann", "bob"]}):
            with pytest.raises(BedrockFatalError, match="Trigger a new run to ask about this report"):
                gated(**{"ask_approval": True, "approvers": ["ann"], "notifiers": [told.append], **given})
        assert not told

    @staticmethod
    def ask(gated: Any, **given: Any) -> BaseException:
        from airflow.providers.standard.operators import hitl

        waiting: type[BaseException] = getattr(hitl, "TaskAwaitingInput", TaskDeferred)  # a name of Airflow 3.3
        with pytest.raises(waiting) as raised:
            gated(ask_approval=True, approvers=["ann"], approval_timeout=60, **given)
        return raised.value

    def test_an_approval_is_of_the_report_that_the_person_saw(self, gated: Any, airflow: Any) -> None:
        """A report that is replaced while the question is open was promoted; with the same report, it counts."""
        self.ask(gated)
        event = {"chosen_options": ["Approve"], "responded_by_user": {"id": "ann", "name": "Ann"}}
        approved = partial(gated, event=event, approvers=["ann"])
        assert approved()["approved_by"] == "Ann"
        with pytest.raises(BedrockFatalError, match="was replaced after the question, so the approval does not count"):
            approved(without=("slices", "even"))

    def test_nobody_is_asked_about_a_model_that_does_not_pass(self, gated: Any) -> None:
        """The rule comes first."""
        with pytest.raises(AirflowSkipException, match="not above"):
            gated(ask_approval=True, minimum_gain=0.9)

    def test_the_approver_is_named(self) -> None:
        """For approved_by of the promotion."""
        event = {"chosen_options": ["Approve"], "responded_by_user": {"id": "ann", "name": "Ann"}}
        assert self.gate().execute_complete(resumed(), event)["approved_by"] == "Ann"

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            ({"chosen_options": ["Reject"], "responded_by_user": {"id": "ann", "name": "Ann"}}, "Ann rejected it"),
            ({"chosen_options": ["Reject"], "responded_by_user": None, "timedout": True}, "the time limit rejected"),
            ({"chosen_options": ["Approve"], "responded_by_user": {"id": "bob", "name": "Bob"}}, "Bob is not"),
            ({"chosen_options": ["Approve"], "responded_by_user": None}, "does not name the approver"),
            ({"chosen_options": ["Approve", "Reject"], "responded_by_user": {"id": "ann", "name": "Ann"}}, "rejected"),
            ({"error": "no row", "error_type": "unknown"}, "the question could not be asked"),
            ({}, "rejected"),
        ],
    )
    def test_anything_else_is_no_approval(self, event: dict[str, Any], reason: str) -> None:
        """The wrong person, nobody in time, an error."""
        with pytest.raises(AirflowSkipException, match=reason):
            self.gate().execute_complete(resumed(), event)

    def test_a_time_limit_may_approve_where_the_dag_says_so(self) -> None:
        """Then nobody's name is on it."""
        event = {"chosen_options": ["Approve"], "responded_by_user": None, "timedout": True}
        assert not self.gate(on_timeout="Approve").execute_complete(resumed(), event).get("approved_by")
