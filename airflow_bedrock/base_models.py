"""What is known about base models: how each can be customized, where, with which records and hyperparameters.

The service model does not say it; ``base_models.toml`` does, dated and with its sources. Pure: no network, no Airflow.
"""

from __future__ import annotations

import math
import re
from functools import cache
from importlib.resources import files
from threading import Lock
from typing import Literal

import msgspec

Format = Literal["bedrock-conversation-2024", "claude", "prompt-completion", "pre-training", "image", "reinforcement"]
"""How a record is written."""

FINE_TUNING = "FINE_TUNING"
"""The customizationType of a request that names none."""

_ARN = re.compile(
    r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(?:foundation-model|custom-model|inference-profile)/([^/]+).*"
)
_CONTEXT = re.compile(r":(?:\d+k|mm)$")


class Hyperparameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inclusive range of one hyperparameter, which is passed as a string.

    :param default: None where the service chooses one itself.
    :param whole: whether it takes whole numbers only.
    :param choices: the texts that it takes, where it is no number.
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
    """One way to customize a base model: the fields of ``base_models.toml``; None where no limit is known.

    :param teachers: for distillation, the ids of the models that may answer the prompts.
    """

    regions: tuple[str, ...]
    format: Format
    hyperparameters: dict[str, Hyperparameter]
    min_records: int = 1
    max_records: int | None = None
    max_validation_records: int | None = None
    max_bytes: int | None = None
    max_validation_bytes: int | None = None
    max_line_bytes: int | None = None
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_images: int | None = None
    max_image_bytes: int | None = None
    max_videos: int | None = None
    max_video_bytes: int | None = None
    media_in_bucket: bool = False
    min_text: int | None = None
    max_text: int | None = None
    reserved_words: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()


class BaseModel(msgspec.Struct, frozen=True):
    """One base model.

    :param id: without geography and context length, such as ``amazon.nova-micro-v1:0``.
    :param name: what the console calls it.
    :param family: the family's name, for messages.
    :param methods: how it can be customized, by customizationType; empty where it cannot.
    :param context: the context length that is added to the id for customization, such as ``128k``.
    :param on_demand: whether a custom model of it can be deployed on demand.
    :param input: what it takes: TEXT, IMAGE, VIDEO.
    :param output: what it gives: TEXT, IMAGE, EMBEDDING.
    """

    id: str
    name: str
    family: str
    methods: dict[str, Method]
    context: str | None
    on_demand: bool
    input: tuple[str, ...]
    output: tuple[str, ...]

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
        """Every region where it can be customized in some way."""
        return tuple(sorted({region for method in self.methods.values() for region in method.regions}))


def base_model(identifier: str) -> BaseModel | None:
    """Return what is known about a base model; None for one that ``base_models.toml`` does not have.

    :param identifier: a foundation model's id or ARN, an inference profile's id or ARN, or a custom model's ARN, which
        names its base model; each with or without the context length.
    """
    return _models().get(_CONTEXT.sub("", foundation_model_id(identifier)))


def base_models() -> list[BaseModel]:
    """Return all base models that are known, in the order of ``base_models.toml``."""
    return list(_models().values())


def foundation_model_id(identifier: str) -> str:
    """Return the id of the foundation model that an identifier names, as in :func:`base_model`; the context stays."""
    if matched := _ARN.fullmatch(identifier):
        identifier = matched[1]
    geography, dot, rest = identifier.partition(".")
    return rest if dot and geography in document().geographies and "." in rest else identifier


class _Model(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str
    context: str | None = None
    on_demand: bool = False
    input: tuple[str, ...] = ("TEXT",)
    output: tuple[str, ...] = ("TEXT",)


class _Family(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    models: tuple[_Model, ...]
    methods: dict[str, Method] = {}


class _Pair(msgspec.Struct, forbid_unknown_fields=True):
    regions: tuple[str, ...]
    teacher: str
    students: tuple[str, ...]


class _Distillation(msgspec.Struct, forbid_unknown_fields=True):
    format: Format
    min_records: int
    max_records: int
    max_bytes: int
    max_line_bytes: int
    pairs: tuple[_Pair, ...]

    def method(self, student: str, hyperparameters: dict[str, Hyperparameter]) -> Method | None:
        """Return how this student is distilled; None for a model that no teacher teaches."""
        pairs = [pair for pair in self.pairs if student in pair.students]
        if not pairs:
            return None
        return Method(
            regions=tuple(sorted({region for pair in pairs for region in pair.regions})),
            format=self.format,
            hyperparameters=hyperparameters,
            min_records=self.min_records,
            max_records=self.max_records,
            max_bytes=self.max_bytes,
            max_line_bytes=self.max_line_bytes,
            teachers=tuple(pair.teacher for pair in pairs),
        )


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The file as it is; :func:`base_model` is what most callers want.

    :param characters_per_token: AWS's rule of thumb.
    :param geographies: what begins the id of an inference profile.
    :param providers: the name of each provider, by what begins its models' ids.
    """

    characters_per_token: int
    geographies: tuple[str, ...]
    providers: dict[str, str]
    family: tuple[_Family, ...]
    distillation: _Distillation


_reading = Lock()


def document() -> Document:
    """Return what ``base_models.toml`` holds."""
    with _reading:  # msgspec 0.22 crashes where two threads are the first to use a type
        return _document()


@cache
def _document() -> Document:
    import tomllib  # here, since whoever only imports an operator needs no parser

    text = files("airflow_bedrock").joinpath("base_models.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Document)


@cache
def _models() -> dict[str, BaseModel]:
    return {
        model.id: BaseModel(
            id=model.id,
            name=model.name,
            family=family.name,
            methods=_methods(model, family),
            context=model.context,
            on_demand=model.on_demand,
            input=model.input,
            output=model.output,
        )
        for family in document().family
        for model in family.models
    }


def _methods(model: _Model, family: _Family) -> dict[str, Method]:
    methods = dict(family.methods)
    if FINE_TUNING in methods:
        distillation = document().distillation.method(model.id, methods[FINE_TUNING].hyperparameters)
        if distillation:
            methods["DISTILLATION"] = distillation
    return methods
