"""When a waiter that hears nothing gives up, and how often it says so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.jobs.patience import Patience


@given(steps=st.lists(st.tuples(st.floats(0.1, 1000), st.booleans()), max_size=50), limit=st.floats(1, 5000))
def test_patience_ends_after_the_limit_of_failing_looks_and_not_before(
    steps: list[tuple[float, bool]], limit: float
) -> None:
    """The silence counts from the first look that failed since the last answer."""
    patience, now = Patience(limit), 0.0
    failing_since: float | None = None
    for pause, answered in steps:
        now += pause
        if answered:
            patience.answered()
            failing_since = None
        else:
            failing_since = now if failing_since is None else failing_since
            assert patience.silence(now) == now - failing_since
        assert patience.is_over(now) == (failing_since is not None and now - failing_since >= limit)


def test_patience_without_a_limit_never_ends_but_speaks_now_and_then() -> None:
    """Silence is said at once, then each quarter of the limit, or of an hour."""
    patience = Patience(0)
    patience.silence(0.0)
    assert [patience.should_tell(float(now)) for now in (0, 60, 899, 900, 1000)] == [True, False, False, True, False]
    assert not patience.is_over(1e9)
