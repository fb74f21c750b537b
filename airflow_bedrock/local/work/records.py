"""Reads training and validation records line by line, by the rules of ``datasets``; a job fails at the first bad one.

If the service's own message is known, it is used word for word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.rules.logs import read_log
from airflow_bedrock.datasets.rules.record import Problem, Record
from airflow_bedrock.uris import bucket_and_key

_OF_THE_FORM = frozenset({"shape", "roles", "block", "empty-text"})
"""Rules about the format itself; if one is broken, the service's message shows the format."""

_AS_THE_SERVICE_SAYS = frozenset({"line-bytes", "media-access", "tokens"})
"""Rules about a record whose messages are the service's own, word for word."""

_CONVERSE = (
    '{"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "<system prompt>"}], "messages": '
    '[{"role": "user", "content": [{"text": "<input text>"}]}, '
    '{"role": "assistant", "content": [{"text": "<output text>"}]}]}'
)
_SHOWN = {
    "claude": '{"system": "<system prompt>", "messages": [{"role": "user", "content": "<input text>"}, '
    '{"role": "assistant", "content": "<output text>"}]}',
    # Recorded from the service (https://github.com/aws-samples/amazon-bedrock-workshop/issues/266); the others follow
    # its pattern.
    "prompt-completion": '{"prompt": "<input text>", "completion": "<output text>"}',
    "pre-training": '{"input": "<input text>"}',
    "image": '{"image-ref": "<S3 URI>", "caption": "<caption>"}',
    "reinforcement": '{"messages": [{"role": "user", "content": "<input text>"}]}',
}
"""How the service's message shows each format that is not Converse's."""


class DataError(Exception):
    """The data is not valid training data; the message becomes the job's failureMessage."""


def read_records(
    lines: Iterable[bytes], file: str, rules: Rules, check: Callable[[Record], Problem | None] = lambda record: None
) -> Iterator[Record]:
    """Read records, one in each line.

    :param file: the object's S3 URI, for messages.
    :param check: returns the problem with a record that follows the rules but cannot be used.
    :raises DataError: at the first line that is not such a record.
    """
    for number, line in enumerate(lines, start=1):
        record, problems = rules.check(line)
        if record is None or problems:
            raise DataError(_message(problems[0], rules, file, number))
        if problem := check(record):
            raise DataError(_message(problem, rules, file, number))
        if rules.method.format == "reinforcement":
            record = msgspec.structs.replace(record, fields=msgspec.json.decode(line))
        yield record


def read_logs(
    lines: Iterable[bytes], file: str, config: Mapping[str, Any], *, distilled: bool = False
) -> Iterator[Record]:
    """Read the logs of conversations that match the filters; logs of other operations are ignored.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html

    :param config: the request's ``invocationLogsConfig``.
    :param distilled: as for :func:`read_log`.
    :raises DataError: at a line that is not a log.
    """
    for number, line in enumerate(lines, start=1):
        record, problems = read_log(line, config, distilled=distilled)
        for problem in problems:
            raise DataError(
                f"Invalid invocation log in Amazon S3 file: {file}, line {number}: {problem.message} - at "
                f"`{problem.where}`"
            )
        if record:
            yield record


def _message(problem: Problem, rules: Rules, file: str, number: int) -> str:
    if problem.rule == "json":
        return (
            f"Unable to parse Amazon S3 file: {file}. Data files must conform to JSONL format. Line {number}: "
            f"{problem.message}"
        )
    if problem.rule in _OF_THE_FORM:
        key, shown = bucket_and_key(file)[1], _SHOWN.get(rules.method.format, _CONVERSE)
        return (
            f"Input data at {key} must follow '{shown}' format. Line {number}: {problem.message} - at `{problem.where}`"
        )
    what = problem.message if problem.rule in _AS_THE_SERVICE_SAYS else f"Invalid record: {problem.message}"
    return f"{what} Amazon S3 file: {file}, line {number}"
