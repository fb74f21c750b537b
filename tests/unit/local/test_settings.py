"""What cannot be set is refused when Local Bedrock starts, not by each call later on."""

from __future__ import annotations

import pytest

from airflow_bedrock.local.settings import Settings


@pytest.mark.parametrize("name", ["BAD_Bucket", "ab", "a" * 64, "-bucket", "bucket.", "", "a/b"])
def test_a_bucket_that_no_request_could_name_is_refused(name: str) -> None:
    """Bedrock's S3 URIs have a pattern."""
    with pytest.raises(ValueError, match="is no name of a bucket"):
        Settings(bucket=name)


@pytest.mark.parametrize("name", ["abc", "a" * 63, "my.bucket-1"])
def test_a_bucket_may_have_any_name_that_s3_takes(name: str) -> None:
    """The shortest, the longest, dots and dashes."""
    assert Settings(bucket=name).bucket == name
