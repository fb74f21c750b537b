"""Prepare data in a task: from common formats to the files that Bedrock takes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from airflow.sdk import Context

from airflow_bedrock import __version__, datasets
from airflow_bedrock.base_models import FINE_TUNING
from airflow_bedrock.compat import outputs
from airflow_bedrock.datasets.choices import OnConflict, RecordFormat, Split, check_fractions
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, choice, flag, given, named, optional, real, rendered, text, whole
from airflow_bedrock.operators.base import BedrockOperator
from airflow_bedrock.uris import file_uri, join, lies_in, name_in, same

if TYPE_CHECKING:
    from airflow_bedrock.datasets import PreparationReport, Settings, Source
    from airflow_bedrock.storage import Storage


_AT_ONCE = 8  # number of parallel requests
_FILES = (*(f"{split.value}.jsonl" for split in Split), "report.json", "manifest.json")


def _manifests(value: Any) -> list[str]:
    """Accept the URI of a manifest, or several; duplicates count once."""
    uris = [value] if isinstance(value, str) else list(value)
    if not uris:
        raise ValueError("must name a manifest")
    return list(dict.fromkeys(map(named(file_uri), uris)))


def _seed(value: Any) -> str:
    if not isinstance(value, (str, int)):
        raise ValueError("must be text, or a whole number")
    return str(value)


def _function(value: Any) -> Callable[[str], str]:
    if not callable(value):
        raise ValueError("must be a function that takes a text and returns one")
    function: Callable[[str], str] = value
    return function


_FRACTION = rendered(real(0, 1))
_COUNT = optional(rendered(whole(1)))


_PREPARED_BEFORE = {
    "prompt_field": "prompt",
    "completion_field": "completion",
    **dict.fromkeys(("group_field", "time_field", "test_after", "redact")),
}
"""The parameters for records that were prepared before: they already have the fields of the format."""


class UnfitDataError(BedrockFatalError):
    """The data can be read, but is not fit for training; nothing was written."""


class BedrockDatasetPreparationOperator(BedrockOperator):
    """Make training, validation and test files from any records, in the record format of the base model.

    Reads any shape of record, drops records that the base model would reject, deduplicates, samples and splits them.
    Writes ``train.jsonl``, ``validation.jsonl``, ``test.jsonl``, ``report.json`` and finally ``manifest.json`` under
    ``output_uri``. The same source and settings give the same files, byte for byte. Files with the same content
    are not written again, so a customization job that was made from them is recognized. Data that the base model would
    reject fails the task before anything is written, and before a later task costs money.

    The split depends on a hash of the prompt: a record stays in its split when others are added or removed.

    To combine several periods into a training set, prepare each with ``part=True``, and give their manifests as
    ``source_manifests`` to another task with the same parameters. It deduplicates the records across the periods, and
    each record stays in its split. The task fails if a manifest has other parameters, or a file does not match it.

    Returns (XCom) a mapping: ``training_data_uri``, ``validation_data_uri`` and ``test_data_uri`` (None for a split
    whose fraction is 0), ``report_uri``, ``manifest_uri``, ``counts`` (records by split, and read, duplicates,
    conflicts, near_duplicates, dropped, not_chosen) and ``digest`` (SHA-256 of the content).

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html

    Every parameter except ``redact`` and the last one is templated.

    :param source_uri: one file, on S3 or local, or every file under a folder that ends in a slash: JSON Lines, a JSON
        array, CSV, TSV or Parquet, each also as ``.gz`` and ``.zst``; a plain text file only as one file. Files that
        are not read are listed in the log and in the manifest.
    :param source_sql: with ``source_uri``: a query of DuckDB over the files, which are its table ``source``; with
        ``source_conn_id``: a query of that database.
    :param source_conn_id: the Airflow connection of a database; its rows are streamed.
    :param source_manifests: the ``manifest.json`` URIs of datasets that were prepared earlier, oldest first, such as
        ``prepare_period.output["manifest_uri"]`` of a mapped task.
    :param output_uri: the folder to write to, on S3 or local; not under ``source_uri``, and not where a written file
        would replace the source.
    :param base_model_id: id or ARN of the base model; it decides the record format and the limits to check.
    :param customization_type: FINE_TUNING, CONTINUED_PRE_TRAINING, DISTILLATION or REINFORCEMENT_FINE_TUNING.
    :param record_format: a value of :class:`~airflow_bedrock.datasets.RecordFormat`; needed if the base model is
        unknown to this version or not given.
    :param prompt_field: the source's field with the prompt, the text or the image's S3 URI, or a template over fields:
        ``"{question} ({product})"``.
        Chats of the Converse API, of OpenAI, of Anthropic and of ShareGPT, and invocation logs, need no field.
    :param completion_field: the same for the completion; whole numbers are written as text.
    :param system_prompt: the system prompt for each record that has none.
    :param group_field: records with the same value in this field stay in one split, e.g. a customer's number; by
        default records with the same prompt.
    :param validation_fraction: fraction of the records for validation, 0 to 1; 0 writes no such file.
    :param test_fraction: fraction of the records held out for evaluation, 0 to 1; 0 writes no such file.
    :param seed: text or a whole number; another seed gives another split and another sample.
    :param time_field: with ``test_after``: the field with a record's time, ISO 8601 or seconds since 1970.
    :param test_after: hold out the records of this time and later, and no earlier ones; ``test_fraction`` must be 0.
    :param on_conflict: which record to keep of those with the same question and different answers: ``first``, ``last``,
        ``majority``; ``drop`` keeps none, ``fail`` fails the task.
    :param near_duplicate_threshold: keep only the first of two questions that are at least this similar, 0 to 1, by
        MinHash over their words; start with 0.8. None keeps both. Needs ``airflow-bedrock[prep]``.
    :param max_records: size of the sample, drawn by a hash of the prompt: the same data gives the same sample.
    :param max_records_per_class: maximum number of records with the same completion.
    :param max_records_per_group: maximum number of records of the same group.
    :param balance_classes: keep as many records of each completion as of the rarest.
    :param min_characters: minimum length of prompt and completion together.
    :param max_characters: maximum length of prompt and completion together.
    :param redact: a function that receives each text and returns the text to write, such as
        :func:`~airflow_bedrock.datasets.redaction.redact_common_patterns`.
    :param max_dropped_fraction: the task fails if a larger fraction of the source, 0 to 1, cannot be used or loses a
        conflict.
    :param part: the dataset is a part of a training set, such as one period: a split may be empty, and the number of
        records is not checked against the base model's limits.
    :param kms_key_id: id, ARN or alias of the KMS key that encrypts what is written to S3; by default the bucket's.
    :param multiple_outputs: also push each value of the mapping as its own XCom, so that
        ``task.output["training_data_uri"]`` works. (default: True)
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "source_uri": optional(file_uri),
        "source_sql": optional(text),
        "source_conn_id": optional(named(text)),
        "source_manifests": optional(_manifests),
        "customization_type": text,
        "time_field": optional(text),
        "test_after": optional(text),
        "on_conflict": choice(OnConflict),
        "near_duplicate_threshold": optional(_FRACTION),
        "max_records": _COUNT,
        "max_records_per_class": _COUNT,
        "max_records_per_group": _COUNT,
        "balance_classes": flag,
        "min_characters": rendered(whole(0)),
        "max_characters": _COUNT,
        "redact": optional(_function),
        "output_uri": file_uri,
        "base_model_id": given(text),
        "record_format": given(choice(RecordFormat)),
        "prompt_field": text,
        "completion_field": text,
        "system_prompt": given(named(text)),  # "None" would be trained into the model
        "group_field": optional(text),
        "validation_fraction": _FRACTION,
        "test_fraction": _FRACTION,
        "seed": named(_seed),  # "None" would be another split
        "max_dropped_fraction": _FRACTION,
        "part": flag,
        "kms_key_id": optional(named(text)),
    }
    template_fields: Sequence[str] = (
        *BedrockOperator.template_fields,
        *(name for name in rules if name != "redact"),  # Airflow would call it
    )

    def __init__(
        self,
        *,
        output_uri: str,
        source_uri: str | None = None,
        source_sql: str | None = None,
        source_conn_id: str | None = None,
        source_manifests: str | Iterable[str] | None = None,
        base_model_id: str | None = None,
        customization_type: str = FINE_TUNING,
        record_format: str | None = None,
        prompt_field: str = "prompt",
        completion_field: str = "completion",
        system_prompt: str | None = None,
        group_field: str | None = None,
        validation_fraction: float | str = 0.1,
        test_fraction: float | str = 0.1,
        seed: str | int = "",
        time_field: str | None = None,
        test_after: str | None = None,
        on_conflict: str = "first",
        near_duplicate_threshold: float | str | None = None,
        max_records: int | str | None = None,
        max_records_per_class: int | str | None = None,
        max_records_per_group: int | str | None = None,
        balance_classes: bool = False,
        min_characters: int | str = 0,
        max_characters: int | str | None = None,
        redact: Callable[[str], str] | None = None,
        max_dropped_fraction: float | str = 0.05,
        part: bool = False,
        kms_key_id: str | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.source_uri = source_uri
        self.source_sql = source_sql
        self.source_conn_id = source_conn_id
        self.source_manifests = source_manifests
        self.customization_type = customization_type
        self.time_field = time_field
        self.test_after = test_after
        self.on_conflict = on_conflict
        self.near_duplicate_threshold = near_duplicate_threshold
        self.max_records = max_records
        self.max_records_per_class = max_records_per_class
        self.max_records_per_group = max_records_per_group
        self.balance_classes = balance_classes
        self.min_characters = min_characters
        self.max_characters = max_characters
        self.redact = redact
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
        self.part = part
        self.kms_key_id = kms_key_id
        self._check_literals()

    def _conflicts(self, found: Mapping[str, Any]) -> Iterator[str]:
        yield from _of_the_source(found)
        yield from _of_the_records(found)

    def execute(self, context: Context) -> dict[str, Any]:
        """Prepare the data, and return its URIs.

        :raises BedrockFatalError: no job can be made from this data or with these settings.
        :raises BedrockError: the storage failed with a transient error.
        """
        made, _ = self.prepare()
        return outputs(made)

    def prepare(self) -> tuple[dict[str, Any], PreparationReport]:
        """Prepare the data; return its URIs and the report.

        :raises UnfitDataError: the data is not fit for training.
        :raises BedrockFatalError: the data cannot be read, or the settings are wrong.
        :raises BedrockError: the storage failed with a transient error.
        """
        arguments = self._checked()
        storage = self._files(arguments["kms_key_id"])
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as scratch:
            folder = Path(scratch)
            try:
                settings = _settings(arguments)
                sources, described = self._sources(storage, arguments, folder)
                with ExitStack() as stack:
                    writers = {split: stack.enter_context(_file(folder, split).open("wb")) for split in Split}
                    report = datasets.prepare(sources, writers, settings)
            except DatasetError as error:
                raise BedrockFatalError(
                    f"Could not prepare {_named(arguments)}: {error}. Nothing was written."
                ) from error
            self._check(report, settings, arguments)
            described |= {"parameters": _parameters(arguments)}
            return self._publish(storage, report, folder, described), report

    def _sources(
        self, storage: Storage, arguments: Mapping[str, Any], folder: Path
    ) -> tuple[list[Source], dict[str, Any]]:
        """Fetch the source; return its files as JSON Lines, and its entry for the manifest."""
        from airflow_bedrock.datasets import sources
        from airflow_bedrock.datasets.rules.logs import is_log

        fetched, made = folder / "fetched", folder / "made"
        fetched.mkdir()
        made.mkdir()
        if arguments["source_manifests"]:
            return _parts(storage, arguments, fetched)
        sql = arguments["source_sql"]
        if arguments["source_conn_id"]:
            path = self._rows(arguments["source_conn_id"], sql, made)
            described = {"conn_id": arguments["source_conn_id"], "sql": sql, **_described(path)}
            return [datasets.Source("row", path)], {"sources": [described], "not_read": []}
        source_uri = arguments["source_uri"]
        uris = storage.files(source_uri)
        of_a_folder = source_uri.endswith("/")
        names = {uri: name_in(uri, source_uri) if of_a_folder else uri.rpartition("/")[2] for uri in uris}
        read = [uri for uri in uris if not of_a_folder or (sources.read_in_a_folder(names[uri]) and is_log(uri))]
        not_read = [*(names[uri] for uri in names.keys() - set(read)), *storage.no_files(source_uri)]
        if not_read:
            self.log.warning("Not read: %s", ", ".join(sorted(not_read)))
        if not read:
            raise DatasetError(f"there is no file of a supported type, such as .jsonl or .csv, under {source_uri}")
        files = list(
            zip((names[uri] for uri in read), _fetched(storage, read, fetched, listed=of_a_folder), strict=True)
        )
        facts = [{"uri": uri, **_described(path)} for uri, (_, path) in zip(read, files, strict=True)]
        if sql:
            found = [datasets.Source("row", sources.query(sql, files, made))]
        else:
            found = [sources.as_source(name, path, made) for name, path in files]
        return found, {"sources": facts, "not_read": sorted(not_read)}

    def _rows(self, conn_id: str, sql: str, folder: Path) -> Path:
        """Write the result of a query of the connection's database."""
        from airflow_bedrock.compat import BaseHook
        from airflow_bedrock.datasets import queries, sources

        hook = BaseHook.get_hook(conn_id)
        with closing(hook.get_conn()) as connection:
            # PostgreSQL's client reads all rows at once, except with a server-side cursor, which has a name.
            of_server = type(connection).__module__.startswith("psycopg")
            with closing(connection.cursor("airflow_bedrock") if of_server else connection.cursor()) as cursor:
                cursor.execute(sql)
                return sources.write_records(queries.rows(cursor), folder)

    def _check(self, report: PreparationReport, settings: Settings, arguments: Mapping[str, Any]) -> None:
        self.log.info("Read %d records of %s: %s", report.read, _named(arguments), _counts(report))
        problems = report.problems(settings, arguments["max_dropped_fraction"])
        if problems:
            raise UnfitDataError(
                f"The data of {_named(arguments)} was not written, and nothing was paid for: {'; '.join(problems)}."
            )

    def _publish(
        self, storage: Storage, report: PreparationReport, folder: Path, described: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Copy the files to their place, the manifest last: if it exists, the data is complete."""
        from airflow_bedrock.datasets.manifest import File  # here, since a DAG file does not need it

        uris = {split: self._put(storage, _file(folder, split)) for split in Split if report.records(split)}
        for split in Split:
            if split not in uris:
                self._warn_of_another(storage, join(self.output_uri, _file(folder, split).name))
        report_uri = self._put(storage, _json(folder / "report.json", report))
        splits = report.splits
        files = {split: File(uri, splits[split].bytes, splits[split].sha256) for split, uri in uris.items()}
        manifest = {
            "airflow_bedrock": __version__,
            **described,
            "files": files,
            "report": report,
            "digest": report.digest,
        }
        return {
            "training_data_uri": uris.get(Split.TRAIN),
            "validation_data_uri": uris.get(Split.VALIDATION),
            "test_data_uri": uris.get(Split.TEST),
            "report_uri": report_uri,
            "manifest_uri": self._put(storage, _json(folder / "manifest.json", manifest)),
            "counts": _counts(report),
            "digest": report.digest,
        }

    def _warn_of_another(self, storage: Storage, uri: str) -> None:
        """Warn of a file that an earlier preparation with a larger fraction has left in the folder."""
        with suppress(BedrockFatalError):  # it does not exist
            storage.etag(uri)
            self.log.warning(
                "%s is from an earlier preparation: its records may now be in the training data. Delete it unless "
                "you need it.",
                uri,
            )

    def _put(self, storage: Storage, file: Path) -> str:
        uri = join(self.output_uri, file.name)
        written = storage.write(file, uri)
        self.log.info("%s: %s", uri, "written" if written else "reused, since it has the same content")
        return uri


def _of_the_source(found: Mapping[str, Any]) -> Iterator[str]:
    if {"source_uri", "output_uri"} <= found.keys() and found["source_uri"]:
        source, output = found["source_uri"], found["output_uri"]
        if source.endswith("/") and lies_in(output, source):
            yield (
                f"output_uri {output} is under source_uri {source}: the next run would read what this one writes. "
                "Choose another location"
            )
        if any(same(source, join(output, name)) for name in _FILES):
            yield f"a file written to output_uri would replace source_uri {source}. Choose another location"
    if {"source_manifests", "output_uri"} <= found.keys():
        manifest = join(found["output_uri"], "manifest.json")
        if any(same(uri, manifest) for uri in found["source_manifests"] or ()):
            yield f"a file written to output_uri would replace {manifest}. Choose another location"
    sources = ("source_uri", "source_conn_id", "source_manifests")
    if {*sources, "source_sql"} <= found.keys():
        if sum(found[name] is not None for name in sources) != 1:
            yield "exactly one of source_uri, source_conn_id and source_manifests must say where the records are"
        if found["source_manifests"] and found["source_sql"]:
            yield "source_sql queries files or a database, not manifests"
        if found["source_manifests"] and found.get("max_records_per_group"):
            yield "max_records_per_group needs the groups, which prepared records do not have: set it for each part"
        if found["source_conn_id"] and not found["source_sql"]:
            yield "source_conn_id needs source_sql"


def _of_the_records(found: Mapping[str, Any]) -> Iterator[str]:
    if {"base_model_id", "record_format"} <= found.keys() and not (found["base_model_id"] or found["record_format"]):
        yield "set base_model_id or record_format"
    if {"validation_fraction", "test_fraction"} <= found.keys():
        try:
            check_fractions(found["validation_fraction"], found["test_fraction"])
        except DatasetError as error:
            yield str(error)
    if {"time_field", "test_after"} <= found.keys() and (found["time_field"] is None) != (found["test_after"] is None):
        yield "time_field and test_after must be given together"
    if {"test_after", "test_fraction"} <= found.keys() and found["test_after"] and found["test_fraction"]:
        yield "test_after decides what is held out: set test_fraction to 0"


def _settings(arguments: Mapping[str, Any]) -> Settings:
    base_model_id, record_format = arguments["base_model_id"], arguments["record_format"]
    try:
        rules = datasets.rules_for(base_model_id, arguments["customization_type"]) if base_model_id else None
    except DatasetError as error:
        if record_format is None:
            raise DatasetError(f"{error}, or set record_format to the format to write") from error
        rules = None
    if rules and record_format is not None and rules.method.format != record_format:
        rules = None  # the user knows better what the model accepts
    given = {**arguments, **(_PREPARED_BEFORE if arguments["source_manifests"] else {})}
    names = {one.name for one in fields(datasets.Settings)} - {"record_format", "rules"}
    return datasets.Settings(
        record_format=record_format or RecordFormat(rules.method.format if rules else ""),
        rules=rules,
        **{name: given[name] for name in names},
    )


def _parts(storage: Storage, arguments: Mapping[str, Any], folder: Path) -> tuple[list[Source], dict[str, Any]]:
    """Fetch the files of the manifests, in order; return them, and their entries for the manifest.

    :raises DatasetError: an object is not a manifest, or its preparation had other parameters.
    :raises BedrockFatalError: a manifest does not exist, or cannot be read.
    :raises BedrockError: a file does not match its manifest: it is being prepared again.
    """
    from airflow_bedrock.datasets.manifest import Manifest  # here, since a DAG file does not need it

    parameters, files, facts = _parameters(arguments), [], []
    for uri in arguments["source_manifests"]:
        with storage.read(uri) as content:
            raw = content.read()
        try:
            manifest = Manifest.of(raw)
        except DatasetError as error:
            raise DatasetError(f"{uri}: {error}") from error
        if different := manifest.differences(parameters):
            raise DatasetError(
                f"{uri} was prepared with a different {', '.join(different)}: prepare it again with the values of this "
                "task"
            )
        facts.append({"uri": uri, "digest": manifest.digest, "sha256": hashlib.sha256(raw).hexdigest()})
        files += [(uri, split, manifest.files[split]) for split in Split if split in manifest.files]
    if not files:
        raise DatasetError("no manifest names a file: there are no records to train on")
    paths = _fetched(storage, [file.uri for _, _, file in files], folder, listed=True)
    for (uri, _, file), path in zip(files, paths, strict=True):
        if _described(path) != {"bytes": file.bytes, "sha256": file.sha256}:
            raise BedrockError(
                f"{file.uri} does not match {uri}. Nothing was written. Its period was being prepared again, or "
                "somebody changed the file. A retry reads both again; if it fails too, prepare the period again."
            )
    found = [datasets.Source(file.uri, path, split) for (_, split, file), path in zip(files, paths, strict=True)]
    return found, {"sources": facts, "not_read": []}


def _fetched(storage: Storage, uris: Sequence[str], folder: Path, *, listed: bool) -> list[Path]:
    """Copy objects in parallel, after the first one, which makes the client that the threads share."""
    from concurrent.futures import ThreadPoolExecutor

    copies = [folder / str(number) for number in range(len(uris))]
    fetch = partial(storage.fetch, listed=listed)
    first = fetch(uris[0], copies[0])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [first, *pool.map(fetch, uris[1:], copies[1:])]


def _named(arguments: Mapping[str, Any]) -> str:
    if manifests := arguments["source_manifests"]:
        return f"{len(manifests)} manifests" if len(manifests) > 1 else manifests[0]
    return arguments["source_uri"] or f"connection {arguments['source_conn_id']}"


def _parameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for the manifest."""
    from airflow_bedrock.datasets.manifest import name_of

    redact = arguments["redact"]
    return {
        **{name: value for name, value in arguments.items() if name != "kms_key_id"},
        "redact": redact and name_of(redact),
    }


def _described(file: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def _json(file: Path, value: object) -> Path:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
    return file


def _file(folder: Path, split: Split) -> Path:
    return folder / f"{split.value}.jsonl"


def _counts(report: PreparationReport) -> dict[str, int]:
    return {
        **{split.value: report.records(split) for split in Split},
        "read": report.read,
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "near_duplicates": report.near_duplicates,
        "dropped": sum(report.dropped.values()),
        "not_chosen": report.not_chosen,
    }
