"""Splitting: stable, without leakage, in proportion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.datasets import DatasetError, RecordFormat, Settings, Split
from airflow_bedrock.datasets.records import normalised
from airflow_bedrock.datasets.selection import split_of

FRACTION = st.floats(min_value=0, max_value=0.49)
HOW = st.fixed_dictionaries({"validation": FRACTION, "test": FRACTION, "seed": st.text(max_size=5)})
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def split(text: str, validation: float, test: float, seed: str = "") -> Split:
    return split_of(normalised(text), validation, test, seed)


def test_assignment_never_changes() -> None:
    """The assignment is the same in every version: a held-out record must not be trained on after an upgrade."""
    splits = " ".join(split(f"key {n}", 0.3, 0.3, "s")[:2] for n in range(12))
    assert splits == "tr tr tr va tr tr va tr tr va va te"


@given(HOW, TEXT, st.sampled_from(["  {} ", "{}\n", "\u00a0{}"]))
def test_texts_that_count_as_the_same_share_a_split(how: dict[str, Any], text: str, frame: str) -> None:
    """White space does not move a key to another split, nor what :func:`normalised` takes off."""
    assert split(frame.format(text), **how) is split(text, **how)
    assert split(normalised(text).decode(), **how) is split(text, **how)


@pytest.mark.parametrize(("one", "other"), [("Straße", "STRASSE"), ("ﬁne", "fine"), ("é", "e\u0301"), ("a  b", "A\tb")])
def test_normalise(one: str, other: str) -> None:
    """Case, ligatures, composed characters and white space do not count."""
    assert normalised(one) == normalised(other)


@given(TEXT, FRACTION, FRACTION, FRACTION)
def test_another_validation_fraction_leaves_the_test_split(text: str, test: float, one: float, other: float) -> None:
    """What is held out stays held out when the validation fraction changes."""
    splits = {split(text, fraction, test) is Split.TEST for fraction in (one, other)}
    assert len(splits) == 1


@given(st.text(max_size=5), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_proportions(seed: str, validation: float, test: float) -> None:
    """Over 2000 keys each split has its fraction, within six standard deviations."""
    splits = [split(str(n), validation, test, seed) for n in range(2000)]
    for one, fraction in ((Split.TEST, test), (Split.VALIDATION, validation)):
        deviation = (2000 * fraction * (1 - fraction)) ** 0.5
        assert abs(splits.count(one) - 2000 * fraction) < 6 * deviation


@given(st.text(max_size=5), FRACTION)
def test_no_fraction_no_record(seed: str, fraction: float) -> None:
    """A split without a fraction gets nothing."""
    assert Split.TEST not in {split(str(n), fraction, 0, seed) for n in range(100)}
    assert Split.VALIDATION not in {split(str(n), 0, fraction, seed) for n in range(100)}


def test_another_seed_is_another_split() -> None:
    """Seeds give independent assignments."""
    same = sum(split(str(n), 0, 0.5, "one") is split(str(n), 0, 0.5, "other") for n in range(2000))
    assert 850 < same < 1150


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.5, 0.5), (0.1, 1), (float("nan"), 0.1)])
def test_impossible_fractions(validation: float, test: float) -> None:
    """Fractions that leave nothing to train on, or are not between 0 and 1, are refused."""
    with pytest.raises(DatasetError, match="something is left for training"):
        Settings(record_format=RecordFormat.CLAUDE, validation_fraction=validation, test_fraction=test)
