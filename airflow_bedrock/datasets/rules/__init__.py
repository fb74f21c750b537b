"""The rules of a valid record, for each base model and each customization type.

The formats are declared in ``forms`` and ``logs``. The limits are data, ``base_models.toml``. :class:`Rules` combines
both. The check of a dataset, its preparation, and Local Bedrock's jobs all use it, so they agree.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_bedrock.base_models import FINE_TUNING, BaseModel, Method, base_model, base_models
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.rules.forms import FORMS
from airflow_bedrock.datasets.rules.limits import limit_problems
from airflow_bedrock.datasets.rules.logs import read_log
from airflow_bedrock.datasets.rules.record import Plain, Problem, Record
from airflow_bedrock.datasets.rules.shape import decoded


class Rules:
    """The rules for a record, for one base model and customization type.

    :param method: the fields of ``base_models.toml``.
    :param takes: what the base model accepts: TEXT, IMAGE, VIDEO.
    :param bucket: the bucket of the data, which some models require for images and videos too. None if the data is not
        on S3 yet.
    :param name: the name of the rules, for messages.
    """

    def __init__(
        self, method: Method, takes: tuple[str, ...] = ("TEXT",), bucket: str | None = None, name: str = ""
    ) -> None:
        self.method = method
        self.takes = takes
        self.bucket = bucket
        self.name = name
        self.form = form = FORMS[method.form or method.format]
        self._decode_plain = form.plain_decoder.decode if form.plain_decoder else None
        self._read_plain = form.plain[1] if form.plain else None
        limits = (method.max_tokens, method.max_input_tokens, method.max_output_tokens)
        # In characters, each of which is at most one token.
        self._max_length = min((one for one in limits if one is not None), default=sys.maxsize)
        self._max_bytes = method.max_line_bytes or sys.maxsize
        self._sequences = method.reserved_sequences
        self._words = [word.lower() for word in method.reserved_words]
        self._rare = sorted({_rarest(word) for word in method.reserved_words})

    def __reduce__(self) -> tuple[object, ...]:
        return Rules, (self.method, self.takes, self.bucket, self.name)  # a decoder cannot be pickled

    def check(self, line: bytes) -> tuple[Record | None, list[Problem]]:
        """Return the record in a line, and all its problems; None if it does not have the format.

        The limits are checked only if the format is valid.
        """
        form = self.form
        value, problems = decoded(form.decoder, line)
        if problems or (problems := list(form.problems(value))):
            return None, problems
        record = form.read(value)
        return record, list(limit_problems(self.method, self.takes, record, len(line), self.bucket))

    def plain(self, line: bytes) -> Plain | None:
        """Return the question and the answer of a record that has only text and no problem; None if it may have one.

        It is several times as fast as :meth:`check`, by a narrower type and rougher limits.
        """
        if self._read_plain is None or self._decode_plain is None or len(line) > self._max_bytes:
            return None
        try:
            plain: Plain | None = self._read_plain(self._decode_plain(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if plain is None:
            return None
        prompt, answer = plain
        if len(prompt) + len(answer) > self._max_length:
            return None
        for one in self._sequences:
            if one in prompt or one in answer:
                return None
        for one in self._rare:
            if one in prompt:
                lower = prompt.lower()
                return None if any(word in lower for word in self._words) else plain
        return plain


def _rarest(word: str) -> str:
    """Return a character of the word that is rare in texts and has no other case; empty if it has no such character."""
    return next((one for one in word if not one.isalnum()), "")


class LogRules(Rules):
    """The rules for model invocation logs that a job trains on; size limits apply only to files.

    :param config: ``invocationLogsConfig`` as in the request. Logs that its filters exclude, and logs without a
        conversation, have neither a record nor a problem.
    :raises DatasetError: such a job cannot train on logs.
    """

    def __init__(self, rules: Rules, config: Mapping[str, Any]) -> None:
        method = msgspec.structs.replace(rules.method, max_bytes=None)
        unanswered = (method.form or method.format) in ("distillation", "reinforcement")
        if not unanswered and not config.get("usePromptResponse"):
            raise DatasetError(
                "invocation logs can be used only for DISTILLATION and REINFORCEMENT_FINE_TUNING, or with "
                "usePromptResponse"
            )
        super().__init__(method, rules.takes, rules.bucket, rules.name)
        self.config = config
        self._read_plain = None  # a log is not a record of the form

    def __reduce__(self) -> tuple[object, ...]:
        return LogRules, (Rules(self.method, self.takes, self.bucket, self.name), self.config)

    def check(self, line: bytes) -> tuple[Record | None, list[Problem]]:
        """Return the conversation in a log, and all its problems."""
        return read_log(line, self.config, distilled=self.method.form == "distillation")


def rules_for(base_model_id: str, customization_type: str = FINE_TUNING, bucket: str | None = None) -> Rules:
    """Return the rules for a base model and a customization type; arguments and errors as of :func:`method_of`."""
    model, method = method_of(base_model_id, customization_type)
    return Rules(method, model.input, bucket, model.family)


def method_of(base_model_id: str, customization_type: str) -> tuple[BaseModel, Method]:
    """Return a base model, and how it is customized.

    :param base_model_id: a foundation model's id or ARN, or the ARN of a custom model, which names its base model.
    :param customization_type: as in the request: FINE_TUNING, DISTILLATION, ...
    :raises DatasetError: the model is unknown, or does not support the type; the message lists the supported ones.
    """
    model = base_model(base_model_id)
    if model is None:
        similar = ", ".join(one.id for one in base_models() if one.methods and base_model_id.lower() in one.id)
        raise DatasetError(f"unknown base model {base_model_id}. Check its id{similar and f'; similar: {similar}'}")
    method = model.methods.get(customization_type)
    if method is None:
        known = ", ".join(model.methods) or "none"
        raise DatasetError(f"{model.name} does not support {customization_type}; supported: {known}")
    return model, method
