"""What each base model takes: record format, number and length of records, reserved words. The data is limits.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

import msgspec

from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import RecordFormat
from airflow_bedrock.datasets.records import Example


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one family of base models takes; None where no limit is known.

    :param name: the family's name, for messages.
    :param prefix: how the ids of its base models begin.
    :param format: the record format.
    :param min_records: the least number of training and validation records together.
    :param max_records: the greatest number of training and validation records together.
    :param max_validation_records: the greatest number of validation records.
    :param max_tokens: tokens of one record, all its texts together.
    :param reserved_words: texts that fail the whole job wherever they stand.
    """

    name: str
    prefix: tuple[str, ...]
    format: RecordFormat
    min_records: int = 1
    max_records: int | None = None
    max_validation_records: int | None = None
    max_tokens: int | None = None
    reserved_words: tuple[str, ...] = ()

    def problem(self, example: Example) -> str | None:
        """Return the rule that the example breaks, without any of its text; None if it keeps them all.

        Tokens are estimated by AWS's rule of 6 characters a token: a record near the limit may still fail the job.
        """
        texts = [text for text in (example.system, example.prompt, example.completion) if text is not None]
        if self.max_tokens is not None:
            tokens = -(-sum(map(len, texts)) // _document().characters_per_token)
            if tokens > self.max_tokens:
                return f"longer than {self.max_tokens} tokens, the limit of {self.name}"
        for word in self.reserved_words:
            if any(word in text for text in texts):
                return f"holds {word}, a reserved word of {self.name}"
        return None

    def volume_problem(self, train: int, validation: int) -> str | None:
        """Return what is wrong with the number of records; None if nothing is."""
        both = train + validation
        if both < self.min_records:
            return f"{both} training and validation records, but {self.name} needs at least {self.min_records}"
        if self.max_records is not None and both > self.max_records:
            return f"{both} training and validation records, but {self.name} takes at most {self.max_records}"
        if self.max_validation_records is not None and validation > self.max_validation_records:
            return f"{validation} validation records, but {self.name} takes at most {self.max_validation_records}"
        return None


class _Document(msgspec.Struct):
    characters_per_token: int
    family: list[Limits]


@cache
def _document() -> _Document:
    text = files("airflow_bedrock.datasets").joinpath("limits.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Document)


def limits_for(base_model_id: str) -> Limits | None:
    """Return what the base model takes; None for a model that ``limits.toml`` does not know.

    :param base_model_id: a foundation model's id or ARN, or the ARN of a custom model, which names its base model.
    """
    parts = base_model_id.split("/")
    return next((f for f in _document().family if any(part.startswith(f.prefix) for part in parts)), None)


def format_for(base_model_id: str) -> RecordFormat:
    """Return the record format that the base model takes.

    :raises DatasetError: ``limits.toml`` does not know the model.
    """
    limits = limits_for(base_model_id)
    if limits is None:
        raise DatasetError(f"the record format of {base_model_id} is not known: name it yourself (record_format)")
    return limits.format
