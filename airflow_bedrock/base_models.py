"""Facts about base models: how, where and with which records and hyperparameters each can be customized.

The service model does not contain these facts; ``base_models.toml`` does, with dates and sources. Pure: no network, no
Airflow.
"""

# No "from __future__ import annotations": msgspec would evaluate each annotation, at each parse of a DAG file.

import math
import re
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from airflow_bedrock.decoding import decoder

Format = Literal["bedrock-conversation-2024", "claude", "prompt-completion", "pre-training", "image", "reinforcement"]
"""How a record is written."""

Form = Literal["nova", "nova-2", "llama", "distillation"]
"""Whose validator a Converse record must pass: one accepts what another rejects."""

FINE_TUNING = "FINE_TUNING"
"""The customizationType of a request that names none."""

_ARN = r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(?:foundation-model|custom-model|inference-profile)/([^/]+).*"
_CONTEXT = r":(?:\d+k|mm)$"


class Hyperparameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inclusive range of one hyperparameter, which is passed as a string.

    :param default: None if the service chooses one itself.
    :param whole: whether it must be a whole number.
    :param choices: the allowed texts, if it is not a number.
    """

    min: float = -math.inf
    max: float = math.inf
    default: str | None = None
    whole: bool = True
    choices: tuple[str, ...] = ()

    def problem(self, value: str) -> str | None:
        """Return what is wrong with a value (``must be a number between 0 and 1, not '2'``), or None."""
        if self.choices:
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}, not {value!r}"
        try:
            number: float = int(value) if self.whole else float(value)
        except ValueError:
            number = math.nan
        if self.min <= number <= self.max:
            return None
        kind = "a whole number" if self.whole else "a number"
        return f"must be {kind} between {self.min:g} and {self.max:g}, not {value!r}"


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to customize a base model: the fields of ``base_models.toml``; None if no limit is known.

    :param teachers: for distillation, the ids of the models that may answer the prompts.
    """

    regions: tuple[str, ...]
    format: Format
    hyperparameters: dict[str, Hyperparameter]
    form: Form | None = None
    min_records: int = 1
    max_records: int | None = None
    max_validation_records: int | None = None
    characters_per_token: int | None = None
    max_bytes: int | None = None
    max_validation_bytes: int | None = None
    max_line_bytes: int | None = None
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_images: int | None = None
    max_image_bytes: int | None = None
    max_documents: int | None = None
    max_videos: int | None = None
    max_video_bytes: int | None = None
    media_in_bucket: bool = False
    media_uri: str | None = None
    media_formats: dict[str, tuple[str, ...]] = {}
    min_text: int | None = None
    max_text: int | None = None
    reserved_words: tuple[str, ...] = ()
    reserved_sequences: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()

    def tokens(self, text: str) -> int:
        """Return the estimated number of tokens of a text; characters per token depend on the script."""
        latin = self.characters_per_token or document().characters_per_token
        if text.isascii():
            return -(-len(text) // latin)
        first, *others = by_script(text.encode("utf-8", "surrogatepass"), len(text))
        tokens = -(-first // latin)
        for count, script in zip(others, document().scripts, strict=True):
            tokens -= -count // min(script.characters_per_token, latin)
        return tokens

    def count_problem(self, training: int, validation: int) -> str | None:
        """Return what is wrong with the number of records, or None."""
        both, low, high = training + validation, self.min_records, self.max_records
        if both < low or (high is not None and both > high):
            return (
                f"The number of records in training and validation data is {both}; it must be between {low} and {high}"
            )
        most = self.max_validation_records
        if most == 0 and validation:
            return "The base model does not accept validation data"
        if most is not None and validation > most:
            return f"The number of records in validation data is {validation}; it must be at most {most}"
        return None


class BaseModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One base model.

    :param id: without geography and context length, such as ``amazon.nova-micro-v1:0``.
    :param name: what the console calls it.
    :param family: the family's name, for messages.
    :param methods: how it can be customized, by customizationType; empty if it cannot.
    :param context: the context length that is added to the id for customization, such as ``128k``.
    :param on_demand: whether a custom model of it can be deployed on demand.
    :param profile_only: whether it is called by an inference profile only, not by its own id.
    :param input: its input: TEXT, IMAGE, VIDEO.
    :param output: its output: TEXT, IMAGE, EMBEDDING.
    :param legacy: the day from which it is Legacy; None if unknown.
    :param ends: the day of its end of life: from then on neither it nor a model customized from it can be used.
    """

    id: str
    name: str
    family: str
    methods: dict[str, Method]
    context: str | None = None
    on_demand: bool = False
    profile_only: bool = False
    input: tuple[str, ...] = ("TEXT",)
    output: tuple[str, ...] = ("TEXT",)
    legacy: date | None = None
    ends: date | None = None

    def has_ended(self, today: date) -> bool:
        """Whether its end of life has come."""
        return self.ends is not None and today >= self.ends

    def is_legacy(self, today: date) -> bool:
        """Whether its end of life is announced or has come."""
        return self.legacy is not None and today >= self.legacy

    @property
    def provider(self) -> str:
        """Who makes it."""
        return document().providers[self.id.partition(".")[0]]

    @property
    def customizable_id(self) -> str:
        """The id as customization names it, with the context length."""
        return f"{self.id}:{self.context}" if self.context else self.id

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region where it can be customized."""
        return tuple(sorted({region for method in self.methods.values() for region in method.regions}))


def base_model(identifier: str) -> BaseModel | None:
    """Return a base model from ``base_models.toml``; None if the file does not have it.

    :param identifier: a foundation model's id or ARN, an inference profile's id or ARN, or a custom model's ARN, which
        names its base model; each with or without the context length.
    """
    return _models().get(model_id(identifier))


def base_models() -> list[BaseModel]:
    """Return all base models that are known, in the order of ``base_models.toml``."""
    return list(document().models)


def model_id(identifier: str) -> str:
    """Return the id of the foundation model that an identifier names, as in :func:`base_model`; without the context."""
    return re.sub(_CONTEXT, "", foundation_model_id(identifier))


def foundation_model_id(identifier: str) -> str:
    """Return the id of the foundation model that an identifier names, as in :func:`base_model`; the context stays."""
    if identifier.startswith("arn:") and (matched := re.fullmatch(_ARN, identifier)):
        identifier = matched[1]
    geography, dot, rest = identifier.partition(".")
    return rest if dot and geography in document().geographies and "." in rest else identifier


class Script(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Characters with their own number of characters per token.

    :param name: such as ``Chinese, Japanese, Korean``.
    :param first_bytes: the first bytes of its characters in UTF-8, in hexadecimal.
    :param characters_per_token: the minimum, for limits and for the upper end of an estimate.
    :param most_characters_per_token: for the lower end of an estimate.
    """

    name: str
    first_bytes: str
    characters_per_token: int
    most_characters_per_token: int


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The content of the file; most callers need :func:`base_model`.

    :param characters_per_token: AWS's rule of thumb.
    :param fewest_characters_per_token: for the upper end of an estimate.
    :param scripts: scripts with another number of characters per token.
    :param geographies: prefixes of the ids of inference profiles.
    :param providers: the name of each provider, by the prefix of its models' ids.
    :param models: in the order of ``base_models.toml``.
    """

    characters_per_token: int
    fewest_characters_per_token: int
    scripts: tuple[Script, ...]
    geographies: tuple[str, ...]
    providers: dict[str, str]
    models: tuple[BaseModel, ...]


_DOCUMENT = decoder(Document)


@cache
def document() -> Document:
    """Return what ``base_models.toml`` holds."""
    # scripts/base_models.py makes the JSON file from the TOML file. Reading it takes a tenth of the time; it has for
    # each model what the TOML file has for its family.
    return _DOCUMENT.decode(Path(__file__).with_suffix(".json").read_bytes())


def by_script(data: bytes, characters: int) -> list[int]:
    """Return how many characters of a text are Latin and others, and how many of each of ``scripts``.

    A character's script is recognized by its first byte in UTF-8, which can be counted fast.

    :param data: the text in UTF-8.
    :param characters: its length.
    """
    table, others, number = _first_bytes()
    firsts = data.translate(table, others)
    return [characters - len(firsts), *map(firsts.count, range(1, number))]


@cache
def _first_bytes() -> tuple[bytes, bytes, int]:
    """Return a table from first bytes to the numbers of scripts, all other bytes, and how many numbers there are."""
    scripts = {first: n for n, one in enumerate(document().scripts, 1) for first in bytes.fromhex(one.first_bytes)}
    table = bytes(scripts.get(one, 0) for one in range(256))
    return table, bytes(set(range(256)) - scripts.keys()), len(document().scripts) + 1


@cache
def _models() -> dict[str, BaseModel]:
    return {model.id: model for model in document().models}
