"""Prices: every figure has a date and a source, a user's own win, and what has no price is never free."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.base_models import base_models
from airflow_bedrock.prices import UNITS, NoPriceError, Price, PriceFileError, dollars, prices

MICRO = "amazon.nova-micro-v1:0"
OWN = """
[sources.agreement]
date = 2026-10-01
name = "Our agreement"

[[prices]]
source = "agreement"
models."amazon.nova-lite-v1:0" = { training = 0.0015 }

[[prices]]
source = "agreement"
regions = ["us-east-1"]
models."amazon.nova-micro-v1:0" = { training = 0.0009, storage = 1 }
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's file."""
    path = tmp_path / "prices.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_every_packaged_figure_is_dated_and_has_a_source_and_a_region() -> None:
    """What the package says counts where and when its source says so."""
    packaged = list(prices())
    # No dated source says what they cost, and where.
    unknown = {"custom_batch_input", "custom_batch_output", "imported_minute"}
    assert {one.figure for one in packaged} == set(UNITS) - unknown
    for one in packaged:
        assert one.region, one
        assert one.source, one
        assert one.url.startswith("https://"), one
        assert date(2025, 1, 1) < one.date <= date(2026, 11, 30)


def test_training_is_priced_only_where_the_model_can_be_trained() -> None:
    """A price in a region without customization is a mistake in one of the two files."""
    regions = {model.id: model.regions for model in base_models()}
    for one in prices():
        if one.figure in ("training", "training_image") and one.model in regions:
            assert one.region in regions[one.model], one


def test_batch_inference_is_half_the_price() -> None:
    """AWS says so of every model that batch inference takes."""
    table = prices()
    for one in table:
        if one.figure in ("batch_input", "batch_output") and one.region:
            on_demand = table.find(one.model, "input" if one.figure == "batch_input" else "output", one.region)
            assert on_demand is None or on_demand.usd == 2 * one.usd, one


@pytest.mark.parametrize(
    "identifier",
    [
        MICRO,
        f"{MICRO}:128k",
        f"us.{MICRO}",
        f"arn:aws:bedrock:us-east-1::foundation-model/{MICRO}:128k",
        f"arn:aws:bedrock:us-east-1:123456789012:custom-model/{MICRO}:128k/abcdefghijkl",
    ],
)
def test_every_identifier_leads_to_the_price(identifier: str) -> None:
    """A custom model is trained and stored at its base model's price."""
    price = prices().price(identifier, "training", "us-east-1")
    assert (price.usd, price.unit, str(price.date)) == (Decimal("0.001"), "1,000 tokens", "2026-08-10")
    assert "2026-08-10" in str(price)
    assert "AWS Price List" in str(price)


@pytest.mark.parametrize(
    ("model", "region", "said"),
    [
        ("amazon.nova-pro-v1:0:300k", "us-east-1", "training of amazon.nova-pro-v1:0 in us-east-1. Add the price"),
        (MICRO, "eu-west-1", "training of amazon.nova-micro-v1:0 in eu-west-1, only in us-east-1. Add the price"),
        ("arn:aws:bedrock:us-east-1:1:custom-model-deployment/abc", "us-east-1", "custom-model-deployment/abc"),
    ],
)
def test_without_a_price_it_says_so(model: str, region: str, said: str) -> None:
    """Nothing is free because nobody knows what it costs."""
    assert prices().find(model, "training", region) is None
    with pytest.raises(NoPriceError, match="No price is known for") as caught:
        prices().price(model, "training", region)
    assert said in str(caught.value)
    assert "[bedrock] prices" in str(caught.value)


def test_a_users_figures_win_and_add(own: Path) -> None:
    """The others stay; without regions a figure counts everywhere."""
    table = prices(own)
    assert table.price(MICRO, "training", "us-east-1").usd == Decimal("0.0009")
    assert table.price(MICRO, "training", "us-east-1").source == "Our agreement"
    assert table.price(MICRO, "input", "us-east-1") == prices().price(MICRO, "input", "us-east-1")
    assert table.price("amazon.nova-lite-v1:0", "training", "eu-west-1").usd == Decimal("0.0015")
    assert len(list(table)) > len(list(prices()))


def test_a_users_file_can_stand_alone(own: Path) -> None:
    """With ``only`` nothing of the package counts."""
    own.write_text("only = true\n" + OWN, encoding="utf-8")
    assert len(list(prices(own))) == 3
    assert prices(own).find(MICRO, "input", "us-east-1") is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.0015", "0", "above 0"),
        ("0.0015", "-0.0015", "above 0"),
        ("0.0015", "nan", "above 0"),
        ("0.0015", "inf", "above 0"),
        ("0.0015", "1e308", "below 1,000,000,000"),
        ("0.0015", "[" * 5000, "not in the form"),
        ("0.0015", '"free"', "not in the form"),
        ("training = 0.0015", "trainign = 0.0015", "not in the form"),
        ("date = 2026-10-01", "", "not in the form"),
        ("date = 2026-10-01", 'date = "soon"', "not in the form"),
        ("[[prices]]", "[prices", "not in the form"),
        ('source = "agreement"', 'source = "hearsay"', "names the source 'hearsay', which it does not define"),
        ('regions = ["us-east-1"]\nmodels."amazon.nova-micro-v1:0"', 'models."amazon.nova-lite-v1:0:300k"', "twice"),
    ],
)
def test_an_invalid_price_is_refused(own: Path, old: str, new: str, said: str) -> None:
    """A file that cannot be meant so is not half taken."""
    own.write_text(OWN.replace(old, new), encoding="utf-8")
    with pytest.raises(PriceFileError, match=said):
        prices(own)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The packaged prices do not stand in for it."""
    with pytest.raises(PriceFileError, match="cannot be read"):
        prices(tmp_path / "none.toml")


def test_the_words_of_each_unit_say_how_many_pieces_it_has() -> None:
    """A price of 1,000 tokens is divided by 1,000, any other by nothing; each error says what has no price."""
    for unit in UNITS.values():
        assert unit.per == (1000 if unit.words.startswith("1,000 ") else 1), unit
        assert unit.what


AMOUNTS = st.decimals("0.000001", "1000", places=6)
QUANTITIES = st.integers(0, 10**12)


@given(usd=AMOUNTS, one=QUANTITIES, other=QUANTITIES)
def test_costs_add_up_exactly(usd: Decimal, one: int, other: int) -> None:
    """No cent is lost to rounding, and more never costs less."""
    price = Price(MICRO, "training", usd, "us-east-1", date(2026, 9, 1), "a source")
    assert price.cost(one) + price.cost(other) == price.cost(one + other)
    assert price.cost(0) == 0
    assert price.cost(one) * 1000 == usd * one
    assert (price.cost(one) <= price.cost(other)) == (one <= other)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        ("1E+30", f"1{',000' * 10}.00"),
        ("12345.678", "12,345.68"),
        ("12.345", "12.34"),
        ("0.5", "0.50"),
        ("0.00012", "0.00012"),
        ("0.000042000000000000013", "0.000042"),
        ("1E-9", "0.00"),
        ("0", "0.00"),
    ],
)
def test_an_amount_for_people(usd: str, shown: str) -> None:
    """Also the budget of one who wants none; what has cost something is not shown as free."""
    assert dollars(Decimal(usd)) == shown
