"""The pace finds the rate that a model's quota allows, whatever it is, and loses nothing on the way."""

from __future__ import annotations

import heapq
import math

import pytest

from airflow_bedrock.evaluation.pace import Pace


def simulate(quota: float, seconds: float, most: int = 64, latency: float = 0.5) -> tuple[int, int]:
    """A model that takes ``quota`` calls a second, a token bucket of one second; how many it answered and refused."""
    pace, now, tokens = Pace(most), 0.0, quota
    in_flight: list[tuple[float, float, bool]] = []  # when it ends, when it began, whether it is answered
    answered = refused = 0
    while now < seconds:
        pause = pace.wait(now, len(in_flight))
        if pause == 0:
            good = tokens >= 1
            tokens -= good
            heapq.heappush(in_flight, (now + (latency if good else 0.02), now, good))
            continue
        step = min(pause, in_flight[0][0] - now if in_flight else math.inf)
        now, tokens = now + step, min(max(1.0, quota), tokens + step * quota)
        while in_flight and in_flight[0][0] <= now:
            _, began, good = heapq.heappop(in_flight)
            pace.answered() if good else pace.refused(now, began)
            answered, refused = answered + good, refused + (not good)
    return answered, refused


@pytest.mark.parametrize("quota", [0.5, 2.0, 10.0, 50.0])
def test_most_of_the_quota_is_used_and_few_calls_are_refused(quota: float) -> None:
    """From one call in two seconds to fifty a second; refused calls cost nothing, but are not many."""
    answered, refused = simulate(quota, 600)
    assert answered > 0.9 * quota * 600
    assert refused < 2 * 600


def test_without_throttling_the_maximum_is_reached() -> None:
    """And not exceeded."""
    pace = Pace(16)
    assert pace.wait(0, 4) == math.inf
    for _ in range(500):
        pace.answered()
    assert pace.limit == 16
    assert pace.wait(0, 15) == 0
    assert pace.wait(0, 16) == math.inf


def test_one_round_of_refusals_is_one_cut() -> None:
    """Calls that had begun before the cut say nothing about the pace since; after it, the next pause is longer."""
    pace = Pace(8)
    for _ in range(200):
        pace.answered()
    for _ in range(8):
        pace.refused(10.0, began=9.0)
    assert pace.limit == 4
    first = pace.wait(10.0, 0)
    pace.refused(11.0, began=10.5)
    assert pace.limit == 2
    assert pace.wait(11.0, 0) == 2 * first
