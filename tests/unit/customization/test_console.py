"""Addresses of the AWS console."""

from __future__ import annotations

import pytest

from airflow_bedrock.customization.console import object_page, resource_url, s3_url


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "us-east-1", "us-east-1.console.aws.amazon.com"),
        ("aws-us-gov", "us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
        ("aws-cn", "cn-north-1", "cn-north-1.console.amazonaws.cn"),
    ],
)
def test_partition_and_region_are_read_from_the_arn(partition: str, region: str, host: str) -> None:
    """Each partition has a console of its own."""
    arn = f"arn:{partition}:bedrock:{region}:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
    assert resource_url(arn).startswith(f"https://{host}/bedrock/home?region={region}#/custom-models/item/?arn=arn%3A")
    page = s3_url("s3://bucket/a folder/job/", arn)
    assert page == f"https://{host.partition('.')[2]}/s3/buckets/bucket?region={region}&prefix=a%20folder/job/"


def test_a_partition_that_is_not_known_has_no_address() -> None:
    """Better none than a wrong one."""
    assert resource_url("arn:aws-iso:bedrock:us-iso-east-1:123456789012:custom-model/x/y") == ""
    assert s3_url("s3://b/k", "arn:aws-iso:bedrock:us-iso-east-1:123456789012:custom-model/x/y") == ""


def test_an_object_by_its_region() -> None:
    """The partition is that of the region; what is not on S3 has no page."""
    aws = "https://bedrock.us-gov-west-1.amazonaws.com"
    page = object_page(aws, "s3://b/a b/report.html", "us-gov-west-1")
    assert page == "https://console.amazonaws-us-gov.com/s3/object/b?region=us-gov-west-1&prefix=a%20b/report.html"
    assert object_page(aws, "/tmp/report.html", "us-gov-west-1") == ""  # noqa: S108  # no file is made
