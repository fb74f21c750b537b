"""What each base model takes for text fine-tuning: record format, number and length of records, reserved words.

The data is ``base_models.toml``.
"""

from __future__ import annotations

import msgspec

from airflow_bedrock.base_models import FINE_TUNING, base_model, document
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import RecordFormat
from airflow_bedrock.datasets.records import Example

_TEXT_FORMATS: frozenset[str] = frozenset(RecordFormat)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one family of base models takes; None where no limit is known.

    :param name: the family's name, for messages.
    :param format: the record format.
    :param min_records: the least number of training and validation records together.
    :param max_records: the greatest number of training and validation records together.
    :param max_validation_records: the greatest number of validation records.
    :param max_tokens: tokens of one record, all its texts together.
    :param max_input_tokens: tokens of the prompt, where it has a limit of its own.
    :param max_output_tokens: tokens of the completion, where it has a limit of its own.
    :param reserved_words: texts that fail the whole job wherever they stand.
    """

    name: str
    format: RecordFormat
    min_records: int = 1
    max_records: int | None = None
    max_validation_records: int | None = None
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    reserved_words: tuple[str, ...] = ()

    def problem(self, example: Example) -> str | None:
        """Return the rule that the example breaks, without any of its text; None if it keeps them all.

        Tokens are estimated by AWS's rule of 6 characters a token: a record near the limit may still fail the job.
        """
        given = [text for text in (example.system, example.prompt) if text is not None]
        for texts, limit, part in (
            ([*given, example.completion], self.max_tokens, ""),
            (given, self.max_input_tokens, "the prompt is "),
            ([example.completion], self.max_output_tokens, "the completion is "),
        ):
            if limit is not None and _tokens(texts) > limit:
                return f"{part}longer than {limit} tokens, the limit of {self.name}"
        for word in self.reserved_words:
            if any(word in text for text in [*given, example.completion]):
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


def limits_for(base_model_id: str) -> Limits | None:
    """Return what the base model takes; None for a model that is not known, or is not fine-tuned on text.

    :param base_model_id: a foundation model's id or ARN, or the ARN of a custom model, which names its base model.
    """
    model = base_model(base_model_id)
    method = model.methods.get(FINE_TUNING) if model else None
    if model is None or method is None or method.format not in _TEXT_FORMATS:
        return None
    return Limits(
        name=model.family,
        format=RecordFormat(method.format),
        min_records=method.min_records,
        max_records=method.max_records,
        max_validation_records=method.max_validation_records,
        max_tokens=method.max_tokens,
        max_input_tokens=method.max_input_tokens,
        max_output_tokens=method.max_output_tokens,
        reserved_words=method.reserved_words,
    )


def format_for(base_model_id: str) -> RecordFormat:
    """Return the record format that the base model takes.

    :raises DatasetError: the model is not known, or is not fine-tuned on text.
    """
    limits = limits_for(base_model_id)
    if limits is None:
        raise DatasetError(f"the record format of {base_model_id} is not known: name it yourself (record_format)")
    return limits.format


def _tokens(texts: list[str]) -> int:
    return -(-sum(map(len, texts)) // document().characters_per_token)
