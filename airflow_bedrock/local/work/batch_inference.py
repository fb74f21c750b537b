"""The work of a batch inference job: check the records, ask the model for each, write the responses.

https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html and batch-inference-results.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import msgspec

from airflow_bedrock.base_models import foundation_model_id
from airflow_bedrock.decoding import decoder
from airflow_bedrock.local.errors import ServiceError, invalid
from airflow_bedrock.local.learning.model import LanguageModel
from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Counts, InvocationJob
from airflow_bedrock.local.work.events import BATCH, emit
from airflow_bedrock.local.work.frame import framed
from airflow_bedrock.local.work.inference import Question, Reply, ask, reply_of
from airflow_bedrock.local.work.invoke_bodies import CONVERSE, form_of, read_question
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.records import DataError
from airflow_bedrock.local.work.s3 import check_writable, read_folder, unreadable, write

MIN_RECORDS, MAX_RECORDS = 100, 50_000
"""Minimum and maximum number of records in a job; AWS's default quotas."""

SHARES = {"Validating": 0.1, "Scheduled": 0.2, "InProgress": 0.3}
"""The share of the job's time after which it enters each status."""

STATUSES = ("Submitted", *SHARES)
"""The statuses of a job before it ends."""

CHUNK = 50
"""Number of records processed between two readings of the clock."""

STOPPING = 0.1
"""How long a job is Stopping, as a share of its time."""


class _Record(msgspec.Struct):
    modelInput: dict[str, Any]
    recordId: str | None = None


_RECORD = decoder(_Record)


def infer(bedrock: Bedrock, job: InvocationJob) -> Work:
    """Run a batch inference job to its end."""
    run = _Run(bedrock, job)
    yield from framed(
        f"batch inference {job.name}", run.to_the_end(), lambda message: end(bedrock, job, "Failed", message)
    )


def end(bedrock: Bedrock, job: InvocationJob, status: str, message: str | None = None) -> None:
    """Set the final status of a job."""
    with bedrock.world.lock:
        job.end_time = bedrock.world.clock.now()
        job.message = message
    change(bedrock, job, status)


def change(bedrock: Bedrock, job: InvocationJob, status: str) -> None:
    """Set the status of a job, and emit an event."""
    with bedrock.world.lock:
        job.status, job.last_modified_time = status, bedrock.world.clock.now()
        emit_batch_event(bedrock, job)


def emit_batch_event(bedrock: Bedrock, job: InvocationJob) -> None:
    """Emit an event with a job's current status."""
    detail = {
        "version": "0.0",
        "accountId": bedrock.account,
        "batchJobName": job.name,
        "batchJobArn": job.arn,
        "batchModelId": job.request["modelId"],
        "status": job.status,
        "failureMessage": job.message or "",
        "creationTime": f"{job.creation_time:%b %-d, %Y, %-I:%M:%S %p}",  # not ISO 8601, unlike a customization's
    }
    emit(bedrock, BATCH, job.arn, detail)


class _Run:
    def __init__(self, bedrock: Bedrock, job: InvocationJob) -> None:
        self._bedrock = bedrock
        self._job = job
        self._s3 = bedrock.client("s3")
        self._started = bedrock.world.runner.started(job.arn)
        self._input: str = job.request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        output: str = job.request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
        self._output = f"{output.rstrip('/')}/{job.id}"
        self._files: dict[str, list[_Record]] = {}
        self._tokens = {"inputTokenCount": 0, "outputTokenCount": 0}

    def to_the_end(self) -> Work:
        """Go through the statuses, and ask the model for one record after the other; stop between two steps."""
        yield from self._steps()
        if self._job.status == "Stopping":
            yield self._bedrock.world.clock.time() + STOPPING * self._bedrock.world.settings.job_seconds
        end(self._bedrock, self._job, "Stopped" if self._job.status == "Stopping" else "Completed")

    def _steps(self) -> Work:
        for status, share in SHARES.items():
            yield self._bedrock.due(self._job.arn, share)
            if self._job.status == "Stopping":
                return
            # After a restart, the job is ahead of the work that is repeated.
            if STATUSES.index(status) > STATUSES.index(self._job.status):
                change(self._bedrock, self._job, status)
            if status == "Validating":
                self._validate()
        yield from self._ask_all()
        yield self._bedrock.due(self._job.arn)

    def _validate(self) -> None:
        role = Role(self._bedrock, self._job.request["roleArn"], self._job.arn)
        if not (role.may_list(self._input) and role.may_read(self._input)):
            raise unreadable(self._input)
        check_writable(role, self._s3, self._output)
        self._files = {file: list(_read(lines, file)) for file, lines in read_folder(self._s3, self._input)}
        total = sum(map(len, self._files.values()))
        if total < MIN_RECORDS:
            raise DataError(
                f"Batch job {self._job.arn} contains less records ({total}) than the required minimum of: {MIN_RECORDS}"
            )
        if total > MAX_RECORDS:
            raise DataError(
                f"Batch job {self._job.arn} contains more records ({total}) than the allowed maximum of: {MAX_RECORDS}"
            )
        self._job.counts = Counts(total)

    def _ask_all(self) -> Work:
        for file, records in self._files.items():
            lines: list[dict[str, Any]] = []
            for start in range(0, len(records), CHUNK):
                lines += [self._asked(record) for record in records[start : start + CHUNK]]
                yield self._started
                if self._job.status == "Stopping":
                    return
            content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
            write(self._s3, f"{self._output}/{PurePosixPath(file).name}.out", content, "application/jsonl")
        manifest = msgspec.json.encode({**self._job.counts.described, **self._tokens})
        write(self._s3, f"{self._output}/manifest.json.out", manifest, "application/json")

    def _asked(self, record: _Record) -> dict[str, Any]:
        shown: dict[str, Any] = {"recordId": record.recordId, "modelInput": record.modelInput}
        self._job.counts.processed += 1
        try:
            shown["modelOutput"] = self._answer(record.modelInput)
            self._job.counts.succeeded += 1
        except ServiceError as error:
            shown["error"] = {"errorCode": 400, "errorMessage": error.message}
            self._job.counts.failed += 1
        return shown

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        converse = self._job.request.get("modelInvocationType") == "Converse"
        if converse and body.get("toolConfig"):
            raise invalid("Batch inference does not support tool calling for jobs of the Converse invocation type.")
        form = CONVERSE if converse else form_of(foundation_model_id(self._job.request["modelId"]))
        return form.answer(self._reply(read_question(form, body)))

    def _reply(self, question: Question) -> Reply:
        model_id: str = self._job.request["modelId"]
        model: LanguageModel | None = self._bedrock.world.weights.get(model_id)
        reply = reply_of(model, question) if model else ask(self._bedrock, model_id, question)
        self._tokens["inputTokenCount"] += reply.input_tokens
        self._tokens["outputTokenCount"] += reply.output_tokens
        return reply


def _read(lines: Iterator[bytes], file: str) -> Iterator[_Record]:
    for number, line in enumerate(lines, start=1):
        try:
            record = _RECORD.decode(line)
        except msgspec.MsgspecError as error:
            raise DataError(f"Invalid record in Amazon S3 file: {file}, line {number}: {error}") from error
        yield record if record.recordId else msgspec.structs.replace(record, recordId=f"{number:011d}")
