"""URLs of the AWS console for an ARN. The partition and the region are taken from the ARN."""

from __future__ import annotations

from urllib.parse import quote

from airflow_bedrock.uris import Arn, bucket_and_key, is_s3

_DOMAINS = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


# By the kind of an ARN. A kind without a documented page leads to the list that shows it.
_PAGES = {
    "provisioned-model": "/provisioned-throughput/details?arn={arn}",
    "model-copy-job": "/custom-models",
    "model-import-job": "/import-models",
    "model-invocation-job": "/batch-inference",
}


def local_page(endpoint_url: str, job_arn: str | None = None) -> str:
    """Return Local Bedrock's page, at the job if one is given; empty for an endpoint of AWS.

    :param endpoint_url: the endpoint of the Bedrock client. AWS serves only HTTPS, Local Bedrock only HTTP.
    """
    if not endpoint_url.startswith("http://"):
        return ""
    place = f"#{quote(job_arn, safe=':/')}" if job_arn else ""
    return f"{endpoint_url.rstrip('/')}/_local/{place}"


def object_page(endpoint_url: str, uri: str, region: str) -> str:
    """Return the page of an S3 object, or on Local Bedrock the object itself; empty if the URI is not on S3.

    :param endpoint_url: the endpoint of the Bedrock client.
    :param region: the region of the bucket, for the console.
    """
    if not is_s3(uri):
        return ""
    bucket, key = bucket_and_key(uri)
    if local := local_page(endpoint_url):
        return f"{local}objects/{bucket}/{quote(key)}"
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    return f"https://{_DOMAINS[partition]}/s3/object/{bucket}?region={region}&prefix={quote(key)}"


def resource_url(arn: str) -> str:
    """Return the page of a resource, such as a customization job; empty if the partition has no known console."""
    parts = Arn.of(arn)
    kind, region, domain = parts.resource.partition("/")[0], parts.region, _DOMAINS.get(parts.partition)
    page = _PAGES.get(kind, "/custom-models/item/?arn={arn}").format(arn=quote(arn, safe=""))
    return f"https://{region}.{domain}/bedrock/home?region={region}#{page}" if domain else ""


def s3_url(uri: str, job_arn: str) -> str:
    """Return the page of an S3 location, in the console of the job's partition and region."""
    job, (bucket, key) = Arn.of(job_arn), bucket_and_key(uri)
    domain = _DOMAINS.get(job.partition)
    return f"https://{domain}/s3/buckets/{bucket}?region={job.region}&prefix={quote(key)}" if domain else ""
