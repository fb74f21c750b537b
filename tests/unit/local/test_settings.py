"""What cannot be set is refused when Local Bedrock starts, not by each call later on."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airflow_bedrock.local.settings import Settings


@pytest.mark.parametrize("name", ["BAD_Bucket", "ab", "a" * 64, "-bucket", "bucket.", "", "a/b"])
def test_a_bucket_that_no_request_could_name_is_refused(name: str) -> None:
    """Bedrock's S3 URIs have a pattern."""
    with pytest.raises(ValueError, match="is not a valid bucket name"):
        Settings(bucket=name)


@pytest.mark.parametrize("name", ["abc", "a" * 63, "my.bucket-1"])
def test_a_bucket_may_have_any_name_that_s3_takes(name: str) -> None:
    """The shortest, the longest, dots and dashes."""
    assert Settings(bucket=name).bucket == name


@pytest.mark.parametrize(
    ("start", "began"),
    [
        (None, None),
        (datetime(2001, 9, 9, 1, 46, 40), 1_000_000_000),
        (datetime(2001, 9, 9, 3, 46, 40, tzinfo=timezone(timedelta(hours=2))), 1_000_000_000),
    ],
)
def test_the_clock_begins_at_the_given_time(start: datetime | None, began: float | None) -> None:
    """A time without a zone is UTC."""
    assert Settings(start=start).began == began


@pytest.mark.parametrize("name", ["job_seconds", "deployment_seconds"])
@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_time_that_never_passes_is_refused(name: str, seconds: float) -> None:
    """A job would never end, or its work would fail."""
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds, 0 or more; got {seconds}"):
        Settings(**{name: seconds})  # type: ignore[arg-type]  # two of them
