"""Check training data for a base model: every format rule and limit, on every record, before a job is paid for.

The exit code is 0 where nothing is wrong, 1 where something is, and 2 where the data cannot be read.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from airflow_bedrock.base_models import FINE_TUNING
from airflow_bedrock.cli import results
from airflow_bedrock.datasets.check_report import markdown, show
from airflow_bedrock.datasets.checking import LISTED, check
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.rules import rules_for
from airflow_bedrock.uris import bucket_and_key, bucket_of, is_s3

_EPILOG = """\
examples:
  airflow-bedrock check train.jsonl --model amazon.nova-micro-v1:0
  airflow-bedrock check s3://bucket/train.jsonl --model amazon.nova-lite-v1:0 --validation s3://bucket/validation.jsonl
  airflow-bedrock check prompts.jsonl --model amazon.nova-lite-v1:0 --method DISTILLATION --format json
"""


def add_data_arguments(parser: argparse.ArgumentParser, examples: str) -> None:
    """Declare the training data and what it is for."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = examples
    parser.add_argument("data", metavar="PATH|s3://…", help="the training data: one JSON Lines file")
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
    add_data_arguments(parser, _EPILOG)
    parser.add_argument("--validation", metavar="PATH|s3://…", help="the validation data, which counts with it")
    parser.add_argument("--test", metavar="PATH|s3://…", help="held-out data, which it must not overlap with")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text", help="default: %(default)s")
    parser.add_argument("--show-text", action="store_true", help="show the beginning of a record with its problem")
    parser.add_argument(
        "--list",
        type=_count,
        default=LISTED,
        metavar="N",
        help="problems to list; all are counted (default: %(default)s)",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number, 0 or more")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Check, print the report, and return the exit code."""
    parts = {"training": arguments.data, "validation": arguments.validation, "test": arguments.test}
    names = {part: name for part, name in parts.items() if name}
    try:
        rules = rules_for(arguments.model, arguments.method, bucket_of(arguments.data))
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airflow-bedrock-")))
            files = {part: fetched(name, folder / part) for part, name in names.items()}
            report = check(files, rules, names=names, listed=arguments.list, show_text=arguments.show_text)
    except (DatasetError, OSError) as error:
        sys.stderr.write(f"Could not check {arguments.data}: {error}\n")
        return 2
    out = results()
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="replace")  # a terminal of another encoding than UTF-8 has no bars
    if arguments.format == "json":
        out.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    elif arguments.format == "markdown":
        out.write(markdown(report))
    else:
        from rich.console import Console

        show(report, Console(file=out))
    return 0 if report.ok else 1


def fetched(uri: str, copy: Path) -> Path:
    """Return the file; what is on S3 is copied first, so that it can be read by several processes.

    :raises OSError: it is not there, or cannot be read.
    """
    if not is_s3(uri):
        if Path(uri).is_dir():
            raise DatasetError(f"{uri} is a folder. Name one file, as a customization job does")
        return Path(uri)
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        boto3.client("s3").download_file(*bucket_and_key(uri), str(copy))
    except (BotoCoreError, ClientError) as error:
        raise OSError(str(error)) from error
    return copy
