"""Estimate what a customization job on training data will cost, with the date and the source of every price.

The exit code is 0 if the cost of the job is known, 1 if it is not, and 2 if the data or the prices cannot be read.
"""

from __future__ import annotations

import argparse
import json
import os

from airflow_bedrock import cli
from airflow_bedrock.datasets.checking import check_uris
from airflow_bedrock.datasets.command import add_data_arguments, fetched
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.estimate import (
    COLUMNS,
    DEFAULT_RESPONSE_TOKENS,
    Estimate,
    Evaluation,
    Plan,
    as_dict,
    dollars,
    estimate,
    table,
    total,
    verdict,
)
from airflow_bedrock.datasets.rules import Rules, rules_for
from airflow_bedrock.prices import prices
from airflow_bedrock.uris import Arn

FAILED = 2
_EPILOG = """\
examples:
  airflow-bedrock estimate train.jsonl --model amazon.nova-micro-v1:0
  airflow-bedrock estimate s3://bucket/train.jsonl --model amazon.nova-micro-v1:0 --epochs 3 --evaluation-records 500
  airflow-bedrock estimate prompts.jsonl --model meta.llama3-1-8b-instruct-v1:0 --method DISTILLATION \\
    --teacher meta.llama3-1-70b-instruct-v1:0 --format json
"""
_COUNTS = {
    "epochs": ("the epochCount (default: the model family's)", None),
    "hours": ("hours of reinforcement fine-tuning, which is billed by the hour", None),
    "response-tokens": ("maximum tokens of a teacher's response (default: %(default)s)", DEFAULT_RESPONSE_TOKENS),
    "evaluation-records": ("number of records in an evaluation of the custom and the base model", None),
    "output-tokens": ("maximum tokens of an answer (default: %(default)s)", 64),
}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_data_arguments(parser, _EPILOG)
    parser.add_argument(
        "--region",
        help="the job's region (default: the region of the model's ARN, or the first one where it can be customized)",
    )
    parser.add_argument("--teacher", metavar="ID", help="id or ARN of the teacher, for DISTILLATION")
    for name, (help_, default) in _COUNTS.items():
        parser.add_argument(f"--{name}", type=_count, default=default, metavar="N", help=help_)
    parser.add_argument(
        "--prices",
        default=os.environ.get("AIRFLOW__BEDROCK__PRICES"),
        metavar="FILE",
        help="a file with your own prices, as docs/cost.md shows (default: the variable AIRFLOW__BEDROCK__PRICES)",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Print the estimate, and return the exit code."""
    rules = rules_for(arguments.model, arguments.method)
    if arguments.method == "DISTILLATION" and not arguments.teacher:
        raise DatasetError("a distillation also pays for its teacher. Name it with --teacher")
    made = _estimate(arguments, rules)
    cli.results().write(f"{json.dumps(as_dict(made), indent=2)}\n" if arguments.format == "json" else _text(made))
    return 0 if made.cost else 1


def _estimate(arguments: argparse.Namespace, rules: Rules) -> Estimate:
    plan = Plan(
        model=arguments.model,
        method=arguments.method,
        region=arguments.region or Arn.of(arguments.model).region or rules.method.regions[0],
        hyperparameters={"epochCount": str(arguments.epochs)} if arguments.epochs else {},
        teacher=arguments.teacher,
        response_tokens=arguments.response_tokens,
        hours=arguments.hours,
    )
    own = prices(arguments.prices)
    count = arguments.evaluation_records
    report = check_uris({"training": arguments.data}, arguments.model, arguments.method, fetch=fetched, listed=1)
    return estimate(report, plan, own, Evaluation(count, arguments.output_tokens) if count else None)


def _text(made: Estimate) -> str:
    rows, sources = table(made)
    lines = [*sources, verdict(made)]
    if made.evaluation:
        lines.append(f"An evaluation costs {dollars(total(made.evaluation))} USD.")
    lines += dict.fromkeys(item.unknown for item in (made.storage, *made.evaluation) if item.unknown)
    shown = cli.table([name.upper() for name in COLUMNS], rows)
    return "\n".join([f"{made.model}, {made.method}, {made.region}", shown, *lines, *made.notes, ""])
