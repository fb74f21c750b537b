"""Model invocation logs as training data: the conversations that the filters of a job let through.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_bedrock.datasets.rules import Record
from airflow_bedrock.datasets.rules.logs import read_log
from airflow_bedrock.local.work.records import DataError


def read_logs(lines: Iterable[bytes], file: str, config: Mapping[str, Any]) -> Iterator[Record]:
    """Read the logs of conversations that the filters let through; those of other kinds are passed over.

    :param config: the request's ``invocationLogsConfig``.
    :raises DataError: at a line that is no log.
    """
    for number, line in enumerate(lines, start=1):
        record, problems = read_log(line, config)
        for problem in problems:
            raise DataError(
                f"Invalid invocation log in Amazon S3 file: {file}, line {number}: {problem.message} - at "
                f"`{problem.where}`"
            )
        if record:
            yield record
