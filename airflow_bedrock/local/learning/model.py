"""A conditional log-bilinear language model: small, trained in seconds, and a real one.

It predicts the next token of a completion from the prompt (the weighted sum of the embeddings of its words and word
pairs) and from the few tokens before it (one embedding for each distance); their sum, times the embedding of each token
of the vocabulary, gives the logits. See Mnih and Hinton, "Three new graphical models for statistical language
modelling" (2007); the prompt as a condition is added here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from airflow_bedrock.local.learning.tokens import END, completion_vocabulary, features, tokenize

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

HISTORY = 4
"""Number of tokens before the next one that the model sees."""

DIMENSIONS = 64
MAX_FEATURES = 100_000
MAX_VOCABULARY = 4_000

_ARRAYS = ("weights", "scale", "prompt", "history", "output", "bias")
_WORDS = ("features", "vocabulary")


@dataclass(frozen=True)
class Answer:
    """The answer of a model.

    :param text: the completion.
    :param tokens: its number of tokens.
    :param ended: False if it was cut off at the token limit.
    """

    text: str
    tokens: int
    ended: bool


@dataclass
class LanguageModel:
    """The model's words and weights; :mod:`~airflow_bedrock.local.learning.training` makes them.

    :param features: the words and word pairs of prompts that the model knows.
    :param weights: the weight of each of them: its inverse document frequency.
    :param scale: the weight of an unknown feature, and the length of a typical prompt.
    :param vocabulary: the tokens it can output; the first is the end of the completion.
    :param prompt: an embedding for each feature.
    :param history: an embedding for each distance and token; the last row stands for "nothing there yet".
    :param output: an embedding for each token of the vocabulary.
    :param bias: a number for each token of the vocabulary.
    """

    features: list[str]
    weights: Floats
    scale: Floats
    vocabulary: list[str]
    prompt: Floats
    history: Floats
    output: Floats
    bias: Floats

    def __post_init__(self) -> None:
        self._feature_index = {feature: index for index, feature in enumerate(self.features)}
        self._token_index = {token: index for index, token in enumerate(self.vocabulary)}

    @classmethod
    def untrained(cls, prompts: Sequence[str], completions: Sequence[str], seed: str) -> LanguageModel:
        """Make a model that knows the words of these texts and nothing else: every token is equally likely.

        :param seed: the same seed and texts give the same model.
        """
        counted = [Counter(features(prompt)) for prompt in prompts]
        frequency = Counter(feature for prompt in counted for feature in prompt)
        known = sorted(frequency, key=lambda feature: (-frequency[feature], feature))[:MAX_FEATURES]
        weights = {feature: math.log((1 + len(prompts)) / frequency[feature]) for feature in known}
        unknown = math.log(1 + len(prompts))
        lengths = [_length((weights.get(feature, unknown), n) for feature, n in one.items()) for one in counted]
        vocabulary = completion_vocabulary(completions, MAX_VOCABULARY)
        size = len(vocabulary)
        return cls(
            features=known,
            weights=np.array(list(weights.values()), np.float32),
            scale=np.array([unknown, np.median(lengths) if lengths else 0], np.float32),
            vocabulary=vocabulary,
            prompt=np.zeros((len(known), DIMENSIONS), np.float32),
            history=np.zeros((HISTORY, size + 1, DIMENSIONS), np.float32),
            output=generator(seed).standard_normal((size, DIMENSIONS), np.float32) / np.float32(np.sqrt(DIMENSIONS)),
            bias=np.zeros(size, np.float32),
        )

    def extended(self, prompts: Sequence[str], completions: Sequence[str], seed: str) -> LanguageModel:
        """Make a model that knows what this one does, and the words of more texts, to continue the training."""
        more = LanguageModel.untrained(prompts, completions, seed)
        features = [place for place, feature in enumerate(more.features) if feature not in self._feature_index]
        tokens = [place for place, token in enumerate(more.vocabulary) if token not in self._token_index]
        new = np.zeros((HISTORY, len(tokens), DIMENSIONS), np.float32)
        return LanguageModel(
            features=[*self.features, *(more.features[place] for place in features)],
            weights=np.concatenate([self.weights, more.weights[features]]),
            scale=self.scale,
            vocabulary=[*self.vocabulary, *(more.vocabulary[place] for place in tokens)],
            prompt=np.concatenate([self.prompt, more.prompt[features]]),
            # The row that stands for "nothing there yet" stays the last one.
            history=np.concatenate([self.history[:, :-1], new, self.history[:, -1:]], axis=1),
            output=np.concatenate([self.output, more.output[tokens]]),
            bias=np.concatenate([self.bias, more.bias[tokens]]),
        )

    def encode_prompt(self, prompt: str) -> tuple[list[int], Floats]:
        """Return the known features of a prompt and their weights, which have length 1 for a typical prompt.

        Unknown features count towards the length, and a short prompt counts as a typical one: otherwise the only known
        word would weigh many times more than in training, and outvote the end of the answer.
        """
        counts = Counter(features(prompt))
        indices = [self._feature_index[name] for name in counts if name in self._feature_index]
        values = self.weights[indices] * np.array([counts[self.features[index]] for index in indices], np.float32)
        unknown, usual = map(float, self.scale)
        unseen = ((unknown, n) for name, n in counts.items() if name not in self._feature_index)
        length = max(usual, math.hypot(float(np.linalg.norm(values)), _length(unseen)))
        return indices, values / np.float32(length) if length else values

    def encode_completion(self, completion: str, limit: int) -> list[int]:
        """Return the tokens of a completion and its end, cut off after ``limit`` tokens.

        A token outside the vocabulary is spelled by its characters; an unknown character is left out.
        """
        index = self._token_index
        encoded: list[int] = []
        for token in tokenize(completion):
            encoded.extend(index[part] for part in ([token] if token in index else token) if part in index)
            if len(encoded) >= limit:
                return encoded[:limit]
        return [*encoded, index[END]]

    def complete(self, prompt: str, max_tokens: int) -> Answer:
        """Answer a prompt with the most likely token each time, until the end or ``max_tokens``."""
        indices, values = self.encode_prompt(prompt)
        condition = values @ self.prompt[indices] if indices else np.zeros(DIMENSIONS, np.float32)
        nothing = len(self.vocabulary)
        tokens: list[int] = []
        while len(tokens) < max_tokens:
            before = ([nothing] * HISTORY + tokens)[-HISTORY:]
            state = condition + self.history[np.arange(HISTORY), before].sum(axis=0)
            token = int(np.argmax(self.output @ state + self.bias))
            if self.vocabulary[token] == END:
                return Answer(self._text(tokens), len(tokens), ended=True)
            tokens.append(token)
        return Answer(self._text(tokens), len(tokens), ended=False)

    def save(self, path: Path) -> None:
        """Write words and weights to a ``.npz`` file."""
        saved: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        # In an array of strings, each would take as much space as the longest.
        saved.update({name: np.frombuffer(json.dumps(getattr(self, name)).encode(), np.uint8) for name in _WORDS})
        with path.open("wb") as file:
            np.savez(file, **saved)

    @classmethod
    def load(cls, path: Path) -> LanguageModel:
        """Read what :meth:`save` wrote."""
        with np.load(path) as saved:
            arrays = {name: saved[name] for name in _ARRAYS}
            words = {name: json.loads(saved[name].tobytes()) for name in _WORDS}
        return cls(**arrays, **words)

    def _text(self, tokens: Sequence[int]) -> str:
        return "".join(self.vocabulary[token] for token in tokens)


def _length(weighted: Iterable[tuple[float, int]]) -> float:
    """Return the Euclidean length of features, given the weight and the number of each."""
    return math.sqrt(sum((weight * count) ** 2 for weight, count in weighted))


def generator(seed: str) -> np.random.Generator:
    """Return a random generator that depends only on the seed."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))


def untrained_answer(model_id: str, prompt: str) -> Answer:
    """Answer like a base model: like the same kind of model before any training.

    Its weights are random, seeded by the model's id and each word, so the same question gets the same answer. The
    answer is an arbitrary word of the request.
    """
    words = sorted({token.strip() for token in tokenize(prompt)} - {""})
    if not words:
        return Answer("", 0, ended=True)
    state = sum((_embedding(model_id, feature) for feature in features(prompt)), np.zeros(DIMENSIONS, np.float32))
    logits = [float(_embedding(model_id, f"output {word}") @ state) for word in words]
    return Answer(words[int(np.argmax(logits))], 1, ended=True)


def _embedding(model_id: str, name: str) -> Floats:
    return generator(f"{model_id} {name}").standard_normal(DIMENSIONS, np.float32)
