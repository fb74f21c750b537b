"""Data preparation as a task: from JSON Lines with a prompt and a completion to the files that Bedrock is given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields

from airflow_bedrock.compat import outputs
from airflow_bedrock.datasets import (
    DatasetError,
    PreparationReport,
    RecordFormat,
    Settings,
    Split,
    Splitter,
    format_for,
    limits_for,
    prepare,
    read_jsonl,
)
from airflow_bedrock.datasets.preparation import SourceRecord
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.storage import Storage, join

if TYPE_CHECKING:
    from airflow.sdk import Context


class BedrockDatasetPreparationOperator(AwsBaseOperator[S3Hook]):
    """Check, deduplicate and split a text dataset, and write it in the record format of the base model.

    Writes ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` and ``report.json`` under ``output_uri``. The same
    source and settings give byte for byte the same files; files that are already there are left untouched, so that
    their ETags stay and a customization job that was made from them is recognised. Data that the base model would
    not take fails the task before anything is written, and before anything that comes after it costs money.

    The split follows from a hash of the prompt: a record stays in its split when others come and go.

    Returns (XCom) a mapping: ``training_data_uri``, ``validation_data_uri`` and ``test_data_uri`` (None for a split
    whose fraction is 0), ``report_uri``, ``counts`` (records by split, and read, duplicates, conflicts, dropped) and
    ``digest`` (SHA-256 of the content).

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html

    Every parameter is templated.

    :param source_uri: JSON Lines, on S3 or local: one file, or with a slash at its end every ``*.jsonl`` under it.
    :param output_uri: the folder to write to, on S3 or local; not under ``source_uri``.
    :param base_model_id: id or ARN of the base model; says the record format, and the limits to check.
    :param record_format: a value of :class:`~airflow_bedrock.datasets.RecordFormat`; needed where the base model is
        not known to this version or not given.
    :param prompt_field: the source's field with the prompt.
    :param completion_field: the source's field with the completion; whole numbers are written as text.
    :param system_prompt: the system prompt of every record.
    :param group_field: records that agree in this field stay in one split, e.g. a customer's number; by default
        records with the same prompt.
    :param validation_fraction: fraction of the records for validation, 0 to 1; 0 writes no such file.
    :param test_fraction: fraction of the records held out for evaluation, 0 to 1; 0 writes no such file.
    :param seed: another seed is another split.
    :param max_dropped_fraction: more unusable records than this fraction of the source fail the task.
    """

    aws_hook_class = S3Hook
    template_fields: Sequence[str] = aws_template_fields(
        "source_uri",
        "output_uri",
        "base_model_id",
        "record_format",
        "prompt_field",
        "completion_field",
        "system_prompt",
        "group_field",
        "validation_fraction",
        "test_fraction",
        "seed",
        "max_dropped_fraction",
    )

    def __init__(
        self,
        *,
        source_uri: str,
        output_uri: str,
        base_model_id: str | None = None,
        record_format: str | None = None,
        prompt_field: str = "prompt",
        completion_field: str = "completion",
        system_prompt: str | None = None,
        group_field: str | None = None,
        validation_fraction: float | str = 0.1,
        test_fraction: float | str = 0.1,
        seed: str = "",
        max_dropped_fraction: float | str = 0.05,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.source_uri = source_uri
        self.output_uri = output_uri
        self.base_model_id = base_model_id
        self.record_format = record_format
        self.prompt_field = prompt_field
        self.completion_field = completion_field
        self.system_prompt = system_prompt
        self.group_field = group_field
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.seed = seed
        self.max_dropped_fraction = max_dropped_fraction

    def execute(self, context: Context) -> dict[str, Any]:
        """Prepare the data, and return where it is.

        :raises BedrockFatalError: the data or the settings are not such that a job could be made from them.
        :raises BedrockError: the storage failed in a way that may pass.
        """
        if self.source_uri.endswith("/") and self.output_uri.startswith(self.source_uri):
            raise BedrockFatalError(
                f"output_uri {self.output_uri} lies under source_uri {self.source_uri}: the next run would read what "
                "this one writes. Name another place."
            )
        storage = Storage(lambda: self.hook.conn)
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as folder:
            try:
                settings, max_dropped_fraction = self._settings(), _fraction(self.max_dropped_fraction)
                report = self._prepare(storage, settings, Path(folder))
            except DatasetError as error:
                raise BedrockFatalError(
                    f"Could not prepare {self.source_uri}: {error}. Nothing was written."
                ) from error
            self._check(report, settings, max_dropped_fraction)
            return self._publish(storage, report, Path(folder))

    def _settings(self) -> Settings:
        return Settings(
            record_format=self._record_format(),
            limits=limits_for(self.base_model_id) if self.base_model_id else None,
            splitter=Splitter(
                validation=_fraction(self.validation_fraction), test=_fraction(self.test_fraction), seed=self.seed
            ),
            prompt_field=self.prompt_field,
            completion_field=self.completion_field,
            system_prompt=self.system_prompt,
            group_field=self.group_field,
        )

    def _record_format(self) -> RecordFormat:
        if self.record_format:
            known = [known.value for known in RecordFormat]
            if self.record_format not in known:
                raise DatasetError(f"record_format {self.record_format} is none of {', '.join(known)}")
            return RecordFormat(self.record_format)
        if not self.base_model_id:
            raise DatasetError("neither base_model_id nor record_format says what to write")
        return format_for(self.base_model_id)

    def _prepare(self, storage: Storage, settings: Settings, folder: Path) -> PreparationReport:
        with ExitStack() as stack:
            writers = {split: stack.enter_context(_file(folder, split).open("wb")) for split in Split}
            return prepare(_records(storage, self.source_uri), writers, settings)

    def _check(self, report: PreparationReport, settings: Settings, max_dropped_fraction: float) -> None:
        self.log.info("Read %d records of %s: %s", report.read, self.source_uri, _counts(report))
        problems = report.problems(settings, max_dropped_fraction)
        if problems:
            raise BedrockFatalError(
                f"The data of {self.source_uri} was not written, and nothing was paid for: {'; '.join(problems)}."
            )

    def _publish(self, storage: Storage, report: PreparationReport, folder: Path) -> dict[str, Any]:
        """Copy the files to their place, the report last: where it is, the data is whole."""
        uris = {split: self._put(storage, _file(folder, split)) for split in Split if report.records(split)}
        report_file = folder / "report.json"
        report_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        result = {
            "training_data_uri": uris.get(Split.TRAIN),
            "validation_data_uri": uris.get(Split.VALIDATION),
            "test_data_uri": uris.get(Split.TEST),
            "report_uri": self._put(storage, report_file),
            "counts": _counts(report),
            "digest": report.digest,
        }
        return outputs(result)

    def _put(self, storage: Storage, file: Path) -> str:
        uri = join(self.output_uri, file.name)
        written = storage.write(file, uri)
        self.log.info("%s: %s", uri, "written" if written else "reused, the same content was there already")
        return uri


def _fraction(value: float | str) -> float:
    """Return a number that may come from a template, and then is text."""
    try:
        return float(value)
    except ValueError as error:
        raise DatasetError(f"{value} is not a fraction") from error


def _file(folder: Path, split: Split) -> Path:
    return folder / f"{split.value}.jsonl"


def _records(storage: Storage, source_uri: str) -> Iterator[SourceRecord]:
    for uri in storage.jsonl_files(source_uri):
        with storage.read(uri) as lines:
            name = uri.removeprefix(source_uri) or uri.rpartition("/")[-1]
            yield from read_jsonl(name, lines)


def _counts(report: PreparationReport) -> dict[str, int]:
    return {
        **{split.value: report.records(split) for split in Split},
        "read": report.read,
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "dropped": sum(report.dropped.values()),
    }
