"""Prepare training data for a base model: read any shape, drop unusable records, deduplicate, select, split.

It does what BedrockDatasetPreparationOperator does, and writes the same files with the same manifest. It needs no
running Airflow. It reads and writes S3 with boto3's own credentials. The exit code is 0 if the files are written, 1 if
the data is not fit for training, and 2 if it cannot be read or an option is wrong; then nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import msgspec

from airflow_bedrock.base_models import FINE_TUNING
from airflow_bedrock.cli import results, table
from airflow_bedrock.datasets import OnConflict, PreparationReport, RecordFormat, Split
from airflow_bedrock.operators.dataset import BedrockDatasetPreparationOperator, UnfitDataError

FAILED = 2
_EPILOG = """\
examples:
  airflow-bedrock prepare tickets.csv --output prepared --model amazon.nova-micro-v1:0 --prompt-field question
  airflow-bedrock prepare s3://bucket/raw/ --output s3://bucket/datasets/1 --model amazon.nova-micro-v1:0
  airflow-bedrock prepare people.parquet --source-sql "SELECT * FROM source WHERE stars > 3" --output prepared \\
    --model amazon.nova-micro-v1:0 --prompt-field "Context: {context} Question: {question}" --max-records 5000
"""
_OPTIONS = {
    "source-sql": ("SQL", "a DuckDB query over the files, which are the table source"),
    "prompt-field": ("NAME", "the field with the prompt, or a template over fields (default: prompt)"),
    "completion-field": ("NAME", "the same for the completion (default: completion)"),
    "system-prompt": ("TEXT", "the system prompt for each record that has none"),
    "group-field": ("NAME", "a field: records with the same value stay in one split"),
    "validation-fraction": ("X", "fraction of the records for validation (default: 0.1)"),
    "test-fraction": ("X", "fraction of the records held out for testing (default: 0.1)"),
    "seed": ("TEXT", "another seed gives another split and another sample"),
    "time-field": ("NAME", "with --test-after: the field with a record's time"),
    "test-after": ("TIME", "hold out the records of this time and later; --test-fraction must be 0"),
    "near-duplicate-threshold": ("X", "keep only the first of two questions at least this similar, 0 to 1"),
    "max-records": ("N", "size of the sample"),
    "max-records-per-class": ("N", "maximum number of records with the same completion"),
    "max-records-per-group": ("N", "maximum number of records of the same group"),
    "min-characters": ("N", "minimum length of prompt and completion together"),
    "max-characters": ("N", "maximum length of prompt and completion together"),
    "max-dropped-fraction": ("X", "fail if a larger fraction of the records is unusable (default: 0.05)"),
    "kms-key-id": ("KEY", "KMS key for the files on S3 (default: the bucket's)"),
}
"""The parameters that the operator gets unchanged; it checks them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "source_uri", nargs="?", metavar="PATH|s3://…", help="one file, or a folder that ends in a slash"
    )
    source.add_argument(
        "--source-manifests",
        nargs="+",
        metavar="URI",
        help="instead of a source: manifests of datasets that were prepared earlier",
    )
    parser.add_argument("--output", required=True, dest="output_uri", metavar="PATH|s3://…", help="a folder")
    parser.add_argument("--model", dest="base_model_id", metavar="ID", help="id or ARN of the base model")
    parser.add_argument(
        "--method",
        dest="customization_type",
        default=FINE_TUNING,
        type=str.upper,
        metavar="TYPE",
        help="the customizationType, such as DISTILLATION (default: %(default)s)",
    )
    formats = [one.value for one in RecordFormat]
    parser.add_argument(
        "--record-format", choices=formats, help="the record format, for an unknown model or without --model"
    )
    for name, (metavar, help_) in _OPTIONS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=help_)
    parser.add_argument(
        "--on-conflict",
        choices=[one.value for one in OnConflict],
        help="which record to keep of those with the same question and different answers (default: first)",
    )
    parser.add_argument(
        "--part",
        action="store_true",
        help="prepare a part of a training set, which may be small (see --source-manifests)",
    )
    parser.add_argument(
        "--balance-classes", action="store_true", help="keep as many records of each completion as of the rarest"
    )
    parser.add_argument(
        "--redact",
        type=_function,
        metavar="MODULE:NAME",
        help="a function that receives each text and returns the text to write; common redacts the common patterns",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")


def _function(name: str) -> Callable[[str], str]:
    where = "airflow_bedrock.datasets.redaction:redact_common_patterns" if name == "common" else name
    try:
        found: Callable[[str], str] = resolve_name(where)
    except (AttributeError, ImportError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot import {where}: {error}") from None
    return found


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data, print what became of the records, and return the exit code."""
    if not (arguments.base_model_id or arguments.record_format):
        sys.stderr.write("Set --model or --record-format. Nothing was read.\n")
        return 2
    options = {name: value for name, value in vars(arguments).items() if value is not None and name != "format"}
    try:
        operator = BedrockDatasetPreparationOperator(task_id="prepare", aws_conn_id=None, **options)
        made, report = operator.prepare()
    except UnfitDataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if arguments.format == "json":
        results().write(msgspec.json.format(msgspec.json.encode({**made, "report": report})).decode() + "\n")
    else:
        results().write(_text(made, report))
    return 0


def _text(made: dict[str, Any], report: PreparationReport) -> str:
    uris = {"train": "training_data_uri", "validation": "validation_data_uri", "test": "test_data_uri"}
    splits = [(one.value, f"{report.records(one):,}", made[uris[one.value]] or "not written") for one in Split]
    lost = {
        **report.dropped,
        "the same question and answer as another record": report.duplicates,
        "another answer to the same question": report.conflicts,
        "nearly the same question as an earlier record": report.near_duplicates,
        "more than the sample needs": report.not_chosen,
    }
    left_out = [(rule, f"{count:,}") for rule, count in lost.items() if count]
    return "\n".join(
        [
            f"{report.read:,} records read.\n",
            table(("SPLIT", "RECORDS", "FILE"), splits),
            *([table(("LEFT OUT", "RECORDS"), left_out)] if left_out else []),
            f"Manifest: {made['manifest_uri']}\nDigest: {made['digest']}\n",
        ]
    )
