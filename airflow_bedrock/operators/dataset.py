"""Data preparation as a task: from JSON Lines with a prompt and a completion to the files that Bedrock is given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

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
from airflow_bedrock.operators.arguments import Rule, named, optional, real, rendered, text
from airflow_bedrock.operators.base import AwsOperator
from airflow_bedrock.storage import Storage, join, lies_in, place, same

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook  # noqa: F401 - for the class's type
    from airflow.sdk import Context


_FILES = (*(f"{split.value}.jsonl" for split in Split), "report.json")


def _record_format(value: Any) -> RecordFormat | None:
    if not value:
        return None
    known = [known.value for known in RecordFormat]
    if value not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return RecordFormat(value)


def _text_or_empty(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _seed(value: Any) -> str:
    if not isinstance(value, (str, int)):
        raise ValueError("must be text, or a whole number")
    return str(value)


_FRACTION = rendered(real(0, 1))
_RULES: Mapping[str, Rule] = {
    "source_uri": place,
    "output_uri": place,
    "base_model_id": optional(_text_or_empty),
    "record_format": _record_format,
    "prompt_field": text,
    "completion_field": text,
    "system_prompt": optional(_text_or_empty),
    "group_field": optional(text),
    "validation_fraction": _FRACTION,
    "test_fraction": _FRACTION,
    "seed": _seed,
    "max_dropped_fraction": _FRACTION,
    "kms_key_id": optional(named(text)),
}


class BedrockDatasetPreparationOperator(AwsOperator["S3Hook"]):
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

    Every parameter is templated, but for the last two.

    :param source_uri: JSON Lines, on S3 or local: one file, or with a slash at its end every ``*.jsonl`` under it.
    :param output_uri: the folder to write to, on S3 or local; not under ``source_uri``, and not such that a file
        written there would replace the source.
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
    :param seed: another seed, a text or a whole number, is another split.
    :param max_dropped_fraction: more unusable records than this fraction of the source, 0 to 1, fail the task.
    :param kms_key_id: id, ARN or alias of the KMS key that encrypts what is written to S3; by default the bucket's.
    :param multiple_outputs: push each value of the mapping as an XCom of its own too, so that
        ``task.output["training_data_uri"]`` is found. (default: True)
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    aws_hook_class = "airflow.providers.amazon.aws.hooks.s3:S3Hook"
    template_fields: Sequence[str] = (
        *AwsOperator.template_fields,
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
        "kms_key_id",
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
        seed: str | int = "",
        max_dropped_fraction: float | str = 0.05,
        kms_key_id: str | None = None,
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
        self.kms_key_id = kms_key_id
        self._arguments(_RULES, _conflicts).check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Prepare the data, and return where it is.

        :raises BedrockFatalError: the data or the settings are not such that a job could be made from them.
        :raises BedrockError: the storage failed in a way that may pass.
        """
        arguments = self._arguments(_RULES, _conflicts).checked()
        storage = Storage(lambda: self.hook.conn, arguments["kms_key_id"])
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as folder:
            try:
                settings = _settings(arguments)
                report = self._prepare(storage, settings, Path(folder))
            except DatasetError as error:
                raise BedrockFatalError(
                    f"Could not prepare {self.source_uri}: {error}. Nothing was written."
                ) from error
            self._check(report, settings, arguments["max_dropped_fraction"])
            return self._publish(storage, report, Path(folder))

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


def _conflicts(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the arguments together."""
    if {"source_uri", "output_uri"} <= found.keys():
        source, output = found["source_uri"], found["output_uri"]
        if source.endswith("/") and lies_in(output, source):
            yield (
                f"output_uri {output} lies under source_uri {source}: the next run would read what this one writes. "
                "Name another place"
            )
        if any(same(source, join(output, name)) for name in _FILES):
            yield f"source_uri {source} would be replaced by a file written to output_uri. Name another place"
    if {"base_model_id", "record_format"} <= found.keys() and not (found["base_model_id"] or found["record_format"]):
        yield "neither base_model_id nor record_format says what to write"
    if {"validation_fraction", "test_fraction"} <= found.keys():
        try:
            Splitter(validation=found["validation_fraction"], test=found["test_fraction"])
        except DatasetError as error:
            yield str(error)


def _settings(arguments: Mapping[str, Any]) -> Settings:
    base_model_id, record_format = arguments["base_model_id"], arguments["record_format"]
    return Settings(
        record_format=record_format or format_for(base_model_id),
        limits=limits_for(base_model_id) if base_model_id else None,
        splitter=Splitter(
            validation=arguments["validation_fraction"], test=arguments["test_fraction"], seed=arguments["seed"]
        ),
        prompt_field=arguments["prompt_field"],
        completion_field=arguments["completion_field"],
        system_prompt=arguments["system_prompt"],
        group_field=arguments["group_field"],
    )


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
