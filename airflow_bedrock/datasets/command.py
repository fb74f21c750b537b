"""Check training data for a base model against every format rule and limit, before you pay for a job.

The exit code is 0 if there is no problem, 1 if there is one, and 2 if the data cannot be read.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bedrock.base_models import FINE_TUNING
from airflow_bedrock.cli import results
from airflow_bedrock.datasets.check_report import markdown, text
from airflow_bedrock.datasets.checking import check_uris
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.uris import bucket_and_key, is_s3, local_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FAILED = 2
_EPILOG = """\
examples:
  airflow-bedrock check train.jsonl --model amazon.nova-micro-v1:0
  airflow-bedrock check s3://bucket/train.jsonl --model amazon.nova-lite-v1:0 --validation s3://bucket/validation.jsonl
  airflow-bedrock check prompts.jsonl --model amazon.nova-lite-v1:0 --method DISTILLATION --format json
  airflow-bedrock check s3://bucket/logs/ --model amazon.nova-lite-v1:0 --method DISTILLATION
"""


def add_data_arguments(
    parser: argparse.ArgumentParser, examples: str, data: str = "the training data: one JSON Lines file"
) -> None:
    """Declare the training data and its purpose."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = examples
    parser.add_argument("data", metavar="PATH|s3://…", help=data)
    parser.add_argument("--model", required=True, metavar="ID", help="id or ARN of the base model")
    parser.add_argument(
        "--method",
        default=FINE_TUNING,
        type=str.upper,
        metavar="TYPE",
        help="the customizationType, such as DISTILLATION or REINFORCEMENT_FINE_TUNING (default: %(default)s)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data = "the training data: one JSON Lines file, or a folder of invocation logs, ending in a slash"
    add_data_arguments(parser, _EPILOG, data)
    parser.add_argument(
        "--validation", metavar="PATH|s3://…", help="the validation data; it counts towards the same limits"
    )
    parser.add_argument(
        "--test", metavar="PATH|s3://…", help="held-out data; overlaps with the training data are counted"
    )
    parser.add_argument(
        "--logs-config",
        type=_config,
        default={},
        metavar="JSON",
        help="for invocation logs: usePromptResponse and requestMetadataFilters, as in the request",
    )
    parser.add_argument(
        "--media-sizes", action="store_true", help="read the size of each image, video and document from S3"
    )
    parser.add_argument(
        "--near-overlaps",
        type=fraction,
        metavar="X",
        help="count validation and test questions that are at least this similar, 0 to 1, to a training question; "
        "start with 0.8",
    )
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text", help="default: %(default)s")
    parser.add_argument("--show-text", action="store_true", help="show the beginning of a record with its problem")


def _config(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise argparse.ArgumentTypeError("must be a JSON object") from None


def fraction(text: str) -> float:
    """Return a number from 0 to 1; argparse reports any other text as an invalid fraction value."""
    if not 0 <= (found := float(text)) <= 1:
        raise ValueError
    return found


def run(arguments: argparse.Namespace) -> int:
    """Check, print the report, and return the exit code."""
    s3 = _s3() if is_s3(arguments.data) or arguments.media_sizes else None  # one client for all threads
    report = check_uris(
        {"training": arguments.data, "validation": arguments.validation, "test": arguments.test},
        arguments.model,
        arguments.method,
        fetch=partial(fetched, s3=s3),
        files_in=_listed,
        logs_config=arguments.logs_config,
        show_text=arguments.show_text,
        s3=s3 if arguments.media_sizes else None,
        near_overlaps=arguments.near_overlaps,
    )
    out = results()
    if arguments.format == "json":
        out.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        out.write(markdown(report) if arguments.format == "markdown" else text(report))
    return 0 if report.ok else 1


def _listed(folder: str) -> list[str]:
    """Return the files below a folder."""
    if not is_s3(folder):
        return sorted(str(path) for path in local_path(folder).rglob("*") if path.is_file())
    bucket, prefix = bucket_and_key(folder)
    pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    return [f"s3://{bucket}/{key}" for key in keys if not key.endswith("/")]


def _s3() -> S3Client:
    import boto3

    return boto3.client("s3")


def fetched(uri: str, copy: Path, s3: S3Client | None = None) -> Path:
    """Return the file; what is on S3 is copied first, so that it can be read by several processes.

    :param s3: a client; None makes one if needed.
    :raises DatasetError: there is no such object on S3, the URI names no object, or the file is a pipe.
    """
    from botocore.exceptions import ClientError  # here, since a local file does not need it

    if not is_s3(uri):
        if local_path(uri).is_fifo():
            raise DatasetError(f"{uri} is a pipe, which can be read only once. Write the data to a file")
        return local_path(uri)
    bucket, key = bucket_and_key(uri)
    if not key:
        raise DatasetError(f"{uri} is a bucket. Name one object in it")
    try:
        (s3 or _s3()).download_file(bucket, key, str(copy))
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":  # S3 does not say whether the bucket or the object is missing
            raise DatasetError(f"there is no object {uri}. Check the URI") from error
        raise
    return copy
