"""What each base model takes for text fine-tuning: record format, number and length of records, reserved words.

The data is ``base_models.toml``.
"""

from __future__ import annotations

import msgspec

from airflow_bedrock.base_models import FINE_TUNING, Method, base_model
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import RecordFormat
from airflow_bedrock.datasets.records import Example

_TEXT_FORMATS: frozenset[str] = frozenset(RecordFormat)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one family of base models takes.

    :param name: the family's name, for messages.
    :param format: the record format.
    :param method: the fields of ``base_models.toml``; Local Bedrock checks records by the same.
    """

    name: str
    format: RecordFormat
    method: Method

    def problem(self, example: Example) -> str | None:
        """Return the rule that the example breaks, without any of its text; None if it keeps them all.

        Tokens are estimated by AWS's rule of 6 characters a token (fewer in scripts other than Latin, and for Claude):
        a record near the limit may still fail the job.
        """
        given = [text for text in (example.system, example.prompt) if text is not None]
        if self.method.needs_text and not (example.prompt and example.completion):
            return f"has an empty text, which {self.name} does not take"
        if excess := self.method.excess("\n".join(given), example.completion):
            part, _, limit = excess
            return f"the {part} is longer than {limit} tokens, the limit of {self.name}"
        words = [word for text in given for word in self.method.reserved(text, asked=True)]
        for word in words or self.method.reserved(example.completion, asked=False):
            return f"holds {word.strip()}, a reserved word of {self.name}"
        return None

    def volume_problem(self, train: int, validation: int) -> str | None:
        """Return what is wrong with the number of records; None if nothing is."""
        problem = self.method.count_problem(train, validation)
        return f"{problem} ({self.name})" if problem else None


def limits_for(base_model_id: str) -> Limits | None:
    """Return what the base model takes; None for an unknown model, or one that is not fine-tuned on text.

    :param base_model_id: a foundation model's id or ARN, or the ARN of a custom model, which names its base model.
    """
    model = base_model(base_model_id)
    method = model.methods.get(FINE_TUNING) if model else None
    if model is None or method is None or method.format not in _TEXT_FORMATS:
        return None
    return Limits(name=model.family, format=RecordFormat(method.format), method=method)


def format_for(base_model_id: str) -> RecordFormat:
    """Return the record format that the base model takes.

    :raises DatasetError: the model is not known, or is not fine-tuned on text.
    """
    limits = limits_for(base_model_id)
    if limits is None:
        raise DatasetError(f"the record format of {base_model_id} is not known: name it yourself (record_format)")
    return limits.format
