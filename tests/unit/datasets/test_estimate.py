"""The estimate: tokens times epochs times price as a range, a date and a source beside every figure, no guess."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.base_models import base_model
from airflow_bedrock.cli import main
from airflow_bedrock.datasets.checking import Bucket, CheckReport, FileSummary, Repeated
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.estimate import Estimate, Evaluation, Plan, as_dict, dollars, estimate, total
from airflow_bedrock.prices import prices
from scripts.training_data import record

MICRO = "amazon.nova-micro-v1:0"
NONE = Repeated(0, [])


def report(records: int = 100, tokens: tuple[int, int] = (1000, 2000), media: tuple[str, ...] = ()) -> CheckReport:
    """A report of data without a problem."""
    return CheckReport(
        model="",
        format="",
        files={"training": FileSummary("train.jsonl", records, 0, 1)},
        dataset_problems=[],
        problems={},
        findings=[],
        scripts=[],
        tokens=tokens,
        media=list(media),
        lengths=[Bucket(1, records)],
        duplicates=NONE,
        conflicts=NONE,
        overlaps=NONE,
    )


def made(data: CheckReport | None = None, evaluation: Evaluation | None = None, **plan: Any) -> Estimate:
    return estimate(data or report(), Plan(**{"model": MICRO, "region": "us-east-1", **plan}), prices(), evaluation)


def test_tokens_times_epochs_times_price() -> None:
    """Nova Micro is trained at 0.001 USD per 1,000 tokens, by default in two epochs."""
    assert made().cost == (Decimal("0.002"), Decimal("0.004"))
    assert made(hyperparameters={"epochCount": "5"}).cost == (Decimal("0.005"), Decimal("0.010"))


def test_epochs_that_the_service_chooses_are_a_range() -> None:
    """Without a default, the fewest and the most epochs are the ends."""
    plan = made(model="amazon.nova-2-lite-v1:0", hyperparameters={"epochCount": "1"})
    assert plan.cost == (Decimal("0.00378"), Decimal("0.00756"))
    for identifier in ("amazon.nova-2-lite-v1:0", MICRO):
        model = base_model(identifier)
        assert model
        known = model.methods["FINE_TUNING"].hyperparameters["epochCount"]
        expected = (int(known.default),) * 2 if known.default else (int(known.min), int(known.max))
        assert made(model=identifier).epochs == expected


@pytest.mark.parametrize("epochs", ["0", "6", "two", "1.5"])
def test_epochs_that_the_model_does_not_take(epochs: str) -> None:
    """A price for a job that is refused helps nobody."""
    with pytest.raises(DatasetError, match="epochCount of Nova Micro must be a whole number between 1 and 5"):
        made(hyperparameters={"epochCount": epochs})


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"model": "amazon.nova-pro-v1:0"}, "No price is known for training of amazon.nova-pro-v1:0 in us-east-1"),
        ({"region": "eu-west-1"}, "No price is known for training of amazon.nova-micro-v1:0 in eu-west-1, only in"),
        (
            {"model": "amazon.nova-2-lite-v1:0", "method": "REINFORCEMENT_FINE_TUNING"},
            "No price is known for reinforcement fine-tuning of amazon.nova-2-lite-v1:0",
        ),
    ],
)
def test_what_is_not_known_is_never_free(plan: dict[str, Any], said: str) -> None:
    """The cost is unknown, and the sentence says what is missing."""
    unknown = made(**plan)
    assert unknown.cost is None
    assert said in unknown.unknown
    assert as_dict(unknown)["cost_usd"] is None


def test_costs_as_text_have_no_exponent() -> None:
    """A Decimal of a small cost has one as text."""
    shown = as_dict(made(report(1, (1, 1)), Evaluation(1, 1)))
    costs = [usd for item in shown["evaluation"] for usd in item["cost_usd"]] + shown["evaluation_cost_usd"]
    assert "0.000000035" in costs
    assert all(re.fullmatch(r"\d+\.\d+", usd) for usd in (*costs, shown["evaluation"][0]["price"]["usd"]))


def test_tokens_of_images_are_not_known() -> None:
    """Images and videos are billed as tokens that nobody can count before."""
    unknown = made(report(media=("image",)))
    assert unknown.cost is None
    assert unknown.unknown == "The training data has images, whose tokens cannot be counted in advance."


def test_a_model_of_images_is_paid_by_the_image() -> None:
    """Steps times batch, whatever the captions are."""
    canvas = made(model="amazon.nova-canvas-v1:0", hyperparameters={"stepCount": "100", "batchSize": "8"})
    assert canvas.cost == (Decimal("4"), Decimal("4"))
    titan = made(model="amazon.titan-image-generator-v2:0", hyperparameters={"batchSize": "16"})
    assert titan.job[0].quantity == (10 * 16, 40_000 * 16)


def test_hours_are_unknown_unless_given(tmp_path: Path) -> None:
    """Reinforcement fine-tuning is billed by the hour."""
    own = tmp_path / "prices.toml"
    own.write_text(
        'sources.a = { date = 2026-10-01, name = "a" }\n'
        '[[prices]]\nsource = "a"\nmodels."amazon.nova-2-lite-v1:0" = { training_hour = 50 }\n',
        encoding="utf-8",
    )
    plan = Plan(model="amazon.nova-2-lite-v1:0", region="us-east-1", method="REINFORCEMENT_FINE_TUNING")
    unknown = estimate(report(), plan, prices(own))
    assert unknown.cost is None
    assert "billed by the hour" in unknown.unknown
    known = Plan(model=plan.model, region=plan.region, method=plan.method, hours=3)
    assert estimate(report(), known, prices(own)).cost == (Decimal(150), Decimal(150))


def test_a_distillation_is_paid_for_its_teacher_too() -> None:
    """The teacher reads and answers each prompt; Bedrock may add prompts, up to the most that a job takes."""
    plan: dict[str, Any] = {"model": "meta.llama3-1-8b-instruct-v1:0", "region": "us-west-2", "method": "DISTILLATION"}
    plan |= {"teacher": "meta.llama3-1-70b-instruct-v1:0", "response_tokens": 500}
    distilled = made(report(records=15_000, tokens=(10, 20)), **plan, hyperparameters={"epochCount": "1"})
    prompts, responses, training = distilled.job
    assert prompts.quantity == (10, 20)
    assert responses.quantity == (15_000, 7_500_000)
    assert training.quantity == (15_010, 7_500_020)
    twice = made(report(records=15_000, tokens=(10, 20)), **plan, hyperparameters={"epochCount": "2"})
    assert twice.job[2].quantity == (2 * 15_010, 2 * 7_500_020)
    few = made(report(records=100, tokens=(10, 20)), **plan, hyperparameters={"epochCount": "1"})
    assert few.job[0].quantity == (10, 3000)
    assert few.job[1].quantity == (100, 7_500_000)


def test_the_price_of_a_request() -> None:
    """The operator's request says all that decides the price."""
    teacher = {"teacherModelIdentifier": "amazon.nova-pro-v1:0", "maxResponseLengthForInference": 7}
    request = {
        "baseModelIdentifier": MICRO,
        "customizationType": "DISTILLATION",
        "hyperParameters": {"epochCount": "3"},
        "customizationConfig": {"distillationConfig": {"teacherModelConfig": teacher}},
    }
    assert Plan.of(request, "us-east-1") == Plan(
        model=MICRO,
        region="us-east-1",
        method="DISTILLATION",
        hyperparameters={"epochCount": "3"},
        teacher="amazon.nova-pro-v1:0",
        response_tokens=7,
    )
    assert Plan.of({"baseModelIdentifier": MICRO}, "us-east-1") == Plan(model=MICRO, region="us-east-1")


def test_an_evaluation_asks_both_models() -> None:
    """Its records are taken to be as long as the training records; an answer has one token at least."""
    asked = made(evaluation=Evaluation(50, 64)).evaluation
    assert [item.quantity for item in asked] == [(500, 1000), (50, 3200)] * 2
    assert total(asked) is not None


def test_a_model_that_is_not_served_on_demand_needs_provisioned_throughput() -> None:
    """An hour of it at the least."""
    asked = made(model="meta.llama3-1-8b-instruct-v1:0", region="us-west-2", evaluation=Evaluation(50, 64)).evaluation
    assert asked[0].cost == (Decimal(24), Decimal(24))


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ((Decimal("0.00001"), Decimal("0.00011")), "0.0000 to 0.0002"),
        ((Decimal("1.999"), Decimal("2.001")), "1.99 to 2.01"),
        ((Decimal("1.95"), Decimal("1.95")), "1.95"),
        (None, "not known"),
    ],
)
def test_costs_are_rounded_outwards(cost: tuple[Decimal, Decimal] | None, said: str) -> None:
    """The true cost lies within what is shown."""
    assert dollars(cost) == said


COUNTS = st.integers(0, 10**10)


@settings(max_examples=50)
@given(low=COUNTS, more=COUNTS, records=st.integers(1, 20_000), epochs=st.integers(1, 5), asked=st.integers(1, 10**6))
def test_every_range_is_one(low: int, more: int, records: int, epochs: int, asked: int) -> None:
    """No end of a range lies beyond the other, and more tokens, epochs or records never cost less."""

    def of(tokens: tuple[int, int], epochs: int) -> Estimate:
        return made(report(records, tokens), Evaluation(asked, 64), hyperparameters={"epochCount": str(epochs)})

    one = of((low, low + more), epochs)
    for item in (*one.job, *one.evaluation):
        assert item.quantity is not None
        assert item.quantity[0] <= item.quantity[1]
    assert one.cost is not None
    assert one.cost == (Decimal(low) * epochs / 10**6, Decimal(low + more) * epochs / 10**6)
    larger = of((low + 1, low + more + 1), epochs)
    assert larger.cost is not None
    assert larger.cost > one.cost
    shown = dollars(one.cost).replace(",", "").split(" to ")
    assert Decimal(shown[0]) <= one.cost[0]
    assert Decimal(shown[-1]) >= one.cost[1]


def training(tmp_path: Path) -> Path:
    file = tmp_path / "train.jsonl"
    file.write_text(record("Where?", "Here.") * 100, encoding="utf-8")
    return file


def test_the_command_shows_date_and_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people: a table, its sources, and the cost in a sentence; record texts are not in it."""
    assert main(["estimate", str(training(tmp_path)), "--model", MICRO, "--evaluation-records", "10"]) == 0
    out = capsys.readouterr().out
    assert "2026-08-10" in out
    assert "[1] AWS Price List" in out
    assert "The job costs" in out
    assert "An evaluation costs" in out
    assert "No price is known for storage" in out
    assert "Where?" not in out


@pytest.mark.parametrize("content", [b"", b"{\n", b"prompt,completion\nWhere?,Here.\n", b"\n\n"])
def test_data_without_a_record_costs_nothing_that_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    """A price of zero for a file that no job can read would pass every max_cost."""
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    assert main(["estimate", str(file), "--model", MICRO]) == 2
    assert "No record of the training data can be read" in capsys.readouterr().err


def test_chats_that_no_distillation_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what is wrong with the first record, and what such a record must be."""
    turns = [{"role": role, "content": [{"text": "Where?"}]} for role in ("user", "assistant", "user")]
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": turns}) + "\n")
    teacher = "meta.llama3-1-70b-instruct-v1:0"
    model = "meta.llama3-1-8b-instruct-v1:0"
    assert main(["estimate", str(file), "--model", model, "--method", "DISTILLATION", "--teacher", teacher]) == 2
    said = capsys.readouterr().err
    assert f"can be read: {file}:1 $.messages: a distillation takes one question, with or without its answer" in said


def test_the_sentence_has_the_tokens_of_one_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the number of epochs, and not as if they were the tokens of all epochs."""
    assert main(["estimate", str(training(tmp_path)), "--model", MICRO, "--epochs", "3"]) == 0
    assert re.search(r"records, \d+ to \d+ tokens; epochs: 3\.\n", capsys.readouterr().out)


def test_the_command_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON with exact costs; the exit code says whether the cost is known."""
    data = f"file://{training(tmp_path)}"
    assert main(["estimate", data, "--model", MICRO, "--epochs", "3", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    low, high = (Decimal(one) for one in shown["cost_usd"])
    assert 0 < low <= high
    assert (low, high) == tuple(Decimal(3 * one) / 10**6 for one in shown["tokens"])
    assert shown["job"][0]["price"]["date"] == "2026-08-10"
    assert shown["job"][0]["price"]["source"]
    assert main(["estimate", data, "--model", "amazon.nova-pro-v1:0"]) == 1
    assert "No price is known for training" in capsys.readouterr().out
    arn = f"arn:aws-cn:bedrock:cn-north-1::foundation-model/{MICRO}"  # where AWS bills in another currency
    assert main(["estimate", data, "--model", arn]) == 1
    assert "in cn-north-1, only in us-east-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.jsonl", "--model", MICRO], "none.jsonl"),
        (["https://host/train.jsonl", "--model", MICRO], "No such file or directory"),
        (["{data}", "--model", "amazon.unknown-v1:0"], "unknown base model"),
        (["{data}", "--model", MICRO, "--method", "DISTILLATION"], "Name it with --teacher"),
        (["{data}", "--model", MICRO, "--prices", "none.toml"], "The prices in none.toml cannot be read"),
        (["{data}", "--model", MICRO, "--epochs", "9"], "between 1 and 5"),
    ],
)
def test_the_command_says_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """No traceback."""
    data = str(training(tmp_path))
    assert main(["estimate", *(one.format(data=data) for one in arguments)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--epochs", "--evaluation-records"])
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_a_number_that_cannot_be_is_named(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, not as argparse puts them together."""
    with pytest.raises(SystemExit):
        main(["estimate", "train.jsonl", "--model", MICRO, option, number])
    assert f"argument {option}: must be a whole number, 1 or more" in capsys.readouterr().err
