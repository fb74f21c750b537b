"""What is done differently for an older Airflow."""

from __future__ import annotations

import pytest

from airflow_bedrock import compat
from airflow_bedrock.compat import outputs

RESULT: dict[str, object] = {"training_loss": 0.5, "validation_loss": None, "validation_losses": []}


@pytest.mark.parametrize(("version", "left_out"), [("3.0.6", {"validation_loss"}), ("3.1.0", set()), ("3.3.2", set())])
def test_none_is_left_out_where_airflow_cannot_push_it(version: str, left_out: set[str]) -> None:
    """Only None is; what is empty or zero stays."""
    assert RESULT.keys() - outputs(RESULT, version).keys() == left_out


@pytest.mark.parametrize("name", compat.__all__)
def test_what_moved_is_found_where_it_is_now(name: str) -> None:
    """Each name that is taken from compat exists in the release that is installed."""
    assert getattr(compat, name) is not None
