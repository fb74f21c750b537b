"""A customization job's data: finds it, checks its permissions, and reads and checks its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec

from airflow_bedrock.base_models import Method
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.rules.limits import kinds_problem, object_problem, unreadable_problem
from airflow_bedrock.datasets.rules.record import Media, Problem, Record
from airflow_bedrock.local.catalog import known
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.records import DataError, read_logs, read_records
from airflow_bedrock.local.work.s3 import (
    check_writable,
    read_folder,
    read_lines,
    unlistable,
    unreadable,
)
from airflow_bedrock.uris import bucket_and_key


class Data:
    """The training and validation data of a job.

    :param s3: a client.
    """

    def __init__(self, bedrock: Bedrock, job: Job, s3: Any) -> None:
        model = known(job.base_model)
        self._method = model.methods[job.type]
        self._takes = model.input
        self._request = job.request
        self._s3 = s3
        self._role = Role(bedrock, job.request["roleArn"], job.arn)
        self._media = MediaCheck(self._method, s3, self._role.may_read)

    def read(self) -> tuple[list[Record], list[list[Record]]]:
        """Read and check everything, and return the training records and those of each validator.

        :raises DataError: something cannot be read, cannot be written, or is not valid training data.
        """
        check_writable(self._role, self._s3, self._request["outputDataConfig"]["s3Uri"])
        training = self._whole(self._training())
        validators = self._request.get("validationDataConfig", {}).get("validators", [])
        most = self._method.max_validation_bytes
        validation = [self._whole(self._file(validator["s3Uri"], most)) for validator in validators]
        if problem := self._method.count_problem(len(training), sum(map(len, validation))):
            raise DataError(problem)
        return training, validation

    def _training(self) -> Iterator[Record]:
        wanted = self._request["trainingDataConfig"]
        if "s3Uri" in wanted:
            return self._file(wanted["s3Uri"], self._method.max_bytes)
        return self._logs(wanted["invocationLogsConfig"])

    def _file(self, uri: str, max_bytes: int | None) -> Iterator[Record]:
        if not self._role.may_read(uri):
            raise unreadable(uri)
        if not self._role.may_list(uri):
            raise unlistable(bucket_and_key(uri)[0])
        rules = Rules(self._method, self._takes, bucket_and_key(uri)[0])
        return read_records(read_lines(self._s3, uri, max_bytes), uri, rules, self._media)

    def _logs(self, config: dict[str, Any]) -> Iterator[Record]:
        uri = config["invocationLogSource"]["s3Uri"]
        if not (self._role.may_list(uri) and self._role.may_read(uri.rstrip("/") + "/")):
            raise unreadable(uri)
        for file, lines in read_folder(self._s3, uri):
            records = read_logs(lines, file, config, distilled=self._method.form == "distillation")
            yield from map(_graded, records) if self._method.format == "reinforcement" else records

    def _whole(self, records: Iterator[Record]) -> list[Record]:
        most = self._method.max_records
        # One more than the maximum is enough to know that there are too many.
        return list(records if most is None else islice(records, most + 1))


def _graded(record: Record) -> Record:
    """Return the record of a log with the fields for its grader: its messages, and its answer if that is used.

    https://docs.aws.amazon.com/bedrock/latest/userguide/rft-option-2.html
    """
    texts = record.texts if record.completion is None else record.texts[:-1]
    fields: dict[str, Any] = {"messages": [{"role": one.role, "content": one.text} for one in texts]}
    if record.completion is not None:
        fields["reference_answer"] = record.completion
    return msgspec.structs.replace(record, completion=None, texts=texts, fields=fields)


class MediaCheck:
    """Checks the images, videos and documents of each record; all files of a job share it.

    :param method: how the base model is customized.
    :param s3: a client.
    :param may_read: whether the job's role may read an object.
    """

    def __init__(self, method: Method, s3: Any, may_read: Callable[[str], bool]) -> None:
        self._method = method
        self._s3 = s3
        self._may_read = may_read
        self._kinds: set[str] = set()

    def __call__(self, record: Record) -> Problem | None:
        """Return the problem with a record's media; None if it has no problem."""
        self._kinds.update({one.kind for one in record.media} & {"image", "video"})
        objects = (self._object_problem(one) for one in record.media)
        return kinds_problem(self._kinds) or next(filter(None, objects), None)

    def _object_problem(self, media: Media) -> Problem | None:
        if not self._may_read(media.uri):
            return unreadable_problem(media)
        return object_problem(self._method, media, self._s3)
