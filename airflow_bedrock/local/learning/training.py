"""Training: cross-entropy over every token of every completion, in small batches, by Adagrad.

It is a generator that does one step at a time, so that its caller decides the pace and can stop between steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_bedrock.local.learning.model import HISTORY, Floats, Integers, LanguageModel, generator

LEARNING_RATE = 0.1
"""The learning rate that works for this model; it stands for a base model's default, others are in proportion."""

LEARNT_TOKENS = 400_000
"""Approximate number of tokens to learn in one epoch; long completions are cut to stay below it."""


@dataclass(frozen=True)
class Example:
    """One record: the input of the model and its expected output."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Schedule:
    """How to train.

    :param epochs: passes over the data.
    :param learning_rate: relative to the base model's default, so 1.0 is the default.
    :param warmup_steps: steps over which the learning rate grows to its value.
    :param batch_size: records a step; None chooses one that gives a sensible number of steps.
    """

    epochs: int
    learning_rate: float = 1.0
    warmup_steps: int = 0
    batch_size: int | None = None

    def batch(self, records: int) -> int:
        """Return the number of records in a step: about 250 steps an epoch, and at most 64 records."""
        return self.batch_size or min(64, max(1, records // 250))

    def steps(self, records: int) -> int:
        """Return the total number of steps."""
        return self.epochs * -(-records // self.batch(records))


@dataclass(frozen=True)
class Step:
    """One step of the training.

    :param number: from 1.
    :param epoch: from 1.
    :param loss: mean cross-entropy over the batch's tokens, in nats, before its update.
    :param ends_epoch: whether it was the epoch's last.
    """

    number: int
    epoch: int
    loss: float
    ends_epoch: bool


def token_limit(records: int) -> int:
    """Return how many tokens of each completion to learn: 16 to 256, fewer for more records."""
    return max(16, min(256, LEARNT_TOKENS // max(1, records)))


def fingerprint(examples: Sequence[Example]) -> str:
    """Return a digest of the data, which seeds all random numbers: the same data gives the same model."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{len(example.prompt)},{len(example.completion)}:{example.prompt}{example.completion}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Batch:
    """Examples as arrays, one record after the other.

    :param feature_counts: how many features the prompt of each record has.
    :param features: the features of all prompts.
    :param values: the weight of each of them.
    :param token_counts: how many tokens the completion of each record has.
    :param targets: the tokens of all completions.
    :param history: for each of them, the tokens before it.
    """

    feature_counts: Integers
    features: Integers
    values: Floats
    token_counts: Integers
    targets: Integers
    history: Integers

    @classmethod
    def of(cls, model: LanguageModel, examples: Sequence[Example], limit: int) -> Batch:
        """Encode examples in the model's words, each completion up to ``limit`` tokens."""
        prompts = [model.encode_prompt(example.prompt) for example in examples]
        completions = [model.encode_completion(example.completion, limit) for example in examples]
        token_counts = np.array([len(tokens) for tokens in completions], np.int64)
        before = [len(model.vocabulary)] * HISTORY
        padded = np.array([token for tokens in completions for token in before + tokens], np.int64)
        # The position of each target in `padded`; the tokens before it precede it there.
        record = np.repeat(np.arange(len(examples)), token_counts)
        places = np.arange(len(record)) + HISTORY * (1 + record)
        return cls(
            feature_counts=np.array([len(indices) for indices, _ in prompts], np.int64),
            features=np.array([index for indices, _ in prompts for index in indices], np.int64),
            values=np.concatenate([values for _, values in prompts], dtype=np.float32),
            token_counts=token_counts,
            targets=padded[places],
            history=padded[places[:, None] + np.arange(-HISTORY, 0)],
        )

    def __len__(self) -> int:
        return len(self.token_counts)

    def take(self, records: Integers) -> Batch:
        """Return the batch of some of the records."""
        features, tokens = _spans(self.feature_counts, records), _spans(self.token_counts, records)
        return Batch(
            feature_counts=self.feature_counts[records],
            features=self.features[features],
            values=self.values[features],
            token_counts=self.token_counts[records],
            targets=self.targets[tokens],
            history=self.history[tokens],
        )


def train(model: LanguageModel, examples: Sequence[Example], schedule: Schedule) -> Iterator[Step]:
    """Train ``model`` in place, one step for each item of the iteration."""
    data = Batch.of(model, examples, token_limit(len(examples)))
    random = generator(fingerprint(examples))
    optimizer = _Adagrad(model)
    size, number = schedule.batch(len(data)), 0
    for epoch in range(1, schedule.epochs + 1):
        order = random.permutation(len(data))
        for start in range(0, len(data), size):
            number += 1
            warmth = min(1.0, number / max(1, schedule.warmup_steps))
            batch = data.take(order[start : start + size])
            loss = optimizer.step(batch, LEARNING_RATE * schedule.learning_rate * warmth)
            yield Step(number, epoch, loss, ends_epoch=start + size >= len(data))


def loss_of(model: LanguageModel, data: Batch, size: int = 256) -> float:
    """Return the mean cross-entropy of the model over all tokens of the data, in nats."""
    total = 0.0
    for start in range(0, len(data), size):
        batch = data.take(np.arange(start, min(start + size, len(data))))
        _, probabilities = _forward(model, batch)
        total += float(-np.log(_of_targets(probabilities, batch)).sum())
    return total / max(1, len(data.targets))


def _forward(model: LanguageModel, batch: Batch) -> tuple[Floats, Floats]:
    """Return the model's state before each token, and the probabilities of the token."""
    weighted = model.prompt[batch.features] * batch.values[:, None]
    conditions = _sum_spans(weighted, batch.feature_counts)
    states = np.repeat(conditions, batch.token_counts, axis=0)
    for distance in range(HISTORY):
        states += model.history[distance, batch.history[:, distance]]
    logits = states @ model.output.T + model.bias
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return states, logits


def _of_targets(probabilities: Floats, batch: Batch) -> Floats:
    chosen: Floats = probabilities[np.arange(len(batch.targets)), batch.targets]
    return np.maximum(chosen, np.float32(1e-30))


class _Adagrad:
    """Adagrad (Duchi et al., 2011): each weight has its own step size, which falls as its gradients add up."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        weights = ("prompt", "history", "output", "bias")
        self._squares = {name: np.full_like(getattr(model, name), 1e-6) for name in weights}

    def step(self, batch: Batch, rate: float) -> float:
        model = self._model
        states, gradient = _forward(model, batch)
        loss = float(-np.log(_of_targets(gradient, batch)).mean())
        gradient[np.arange(len(batch.targets)), batch.targets] -= 1
        gradient /= np.float32(len(batch))
        of_states = gradient @ model.output
        of_conditions = _sum_spans(of_states, batch.token_counts)
        of_features = np.repeat(of_conditions, batch.feature_counts, axis=0) * batch.values[:, None]
        self._update("output", slice(None), gradient.T @ states, rate)
        self._update("bias", slice(None), gradient.sum(axis=0), rate)
        self._update("prompt", *_by_row(batch.features, of_features), rate)
        for distance in range(HISTORY):
            rows, sums = _by_row(batch.history[:, distance], of_states)
            self._update("history", (distance, rows), sums, rate)
        return loss

    def _update(self, name: str, where: Any, gradient: Floats, rate: float) -> None:
        weights, squares = getattr(self._model, name), self._squares[name]
        squares[where] += gradient * gradient
        weights[where] -= np.float32(rate) * gradient / np.sqrt(squares[where])


def _spans(counts: Integers, records: Integers) -> Integers:
    """Return the positions of the records' items in an array with ``counts`` items for each record in turn."""
    starts = np.cumsum(counts) - counts
    chosen = counts[records]
    offsets = np.arange(chosen.sum()) - np.repeat(np.cumsum(chosen) - chosen, chosen)
    places: Integers = np.repeat(starts[records], chosen) + offsets
    return places


def _sum_spans(rows: Floats, counts: Integers) -> Floats:
    """Return the sum of each span of rows; a span may be empty."""
    sums = np.zeros((len(counts), rows.shape[1]), np.float32)
    full = counts > 0
    if full.any():
        sums[full] = np.add.reduceat(rows, (np.cumsum(counts) - counts)[full], axis=0)
    return sums


def _by_row(indices: Integers, rows: Floats) -> tuple[Integers, Floats]:
    """Return the distinct indices, and the sum of the rows of each."""
    order = np.argsort(indices, kind="stable")
    distinct, starts = np.unique(indices[order], return_index=True)
    return distinct, np.add.reduceat(rows[order], starts, axis=0) if len(order) else rows
