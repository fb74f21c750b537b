"""Approve or reject a promotion that a gate asks about, on an Airflow before 3.1. Without an id, list the questions.

The answer is recorded with the AWS caller of the credentials in use (sts:GetCallerIdentity).
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from airflow_bedrock.cli import results, table
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.jobs.account import caller_arn
from airflow_bedrock.registry.approval import Answer, Approvals
from airflow_bedrock.registry.models import add_registry, connect

_HEADER = ("ID", "UNTIL", "ASKED BY", "REPORT")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", nargs="?", help="id of the question (default: list those without an answer)")
    parser.add_argument("--reject", action="store_true", help="reject the promotion")
    add_registry(parser)
    parser.set_defaults(error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Answer, or list the questions; return the exit code."""
    if arguments.reject and arguments.id is None:
        arguments.error("--reject needs the id of a question")
    hook = connect(arguments)
    if arguments.id is None:
        results().write(_listed(hook.approvals))
        return 0
    question = hook.approvals.question(arguments.id)
    if question is None:
        raise BedrockFatalError(f"There is no question {arguments.id}. Without an id, this command lists them.")
    sys.stderr.write(f"{question.body}\n\n")
    answer = Answer(approved=not arguments.reject, by=caller_arn(hook), at=datetime.now(UTC))
    hook.approvals.answer(question, answer)
    results().write(f"{answer.by} {'approved' if answer.approved else 'rejected'} {question.id}\n")
    return 0


def _listed(approvals: Approvals) -> str:
    now = datetime.now(UTC)
    waiting = [one for one in approvals.open() if one.until > now]
    rows = [[one.id, f"{one.until:%Y-%m-%d %H:%M} UTC", one.asked_by, one.report_uri] for one in waiting]
    return table(_HEADER, rows)
