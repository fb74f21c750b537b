"""How a base model answers: as the same kind of model would before it has learnt anything.

Its weights are random, drawn from the model's id for each word, so the same question gets the same answer. All it can
say is what stands in the request: the answer is an arbitrary word of it.
"""

from __future__ import annotations

import numpy as np

from airflow_bedrock.local.learning.model import DIMENSIONS, Answer, Floats, generator
from airflow_bedrock.local.learning.tokens import features, tokenize


def untrained_answer(model_id: str, prompt: str) -> Answer:
    """Return one word of the prompt, chosen by random weights that depend on the model's id."""
    words = sorted({token.strip() for token in tokenize(prompt)} - {""})
    if not words:
        return Answer("", 0, ended=True)
    state = sum((_embedding(model_id, feature) for feature in features(prompt)), np.zeros(DIMENSIONS, np.float32))
    logits = [float(_embedding(model_id, f"output {word}") @ state) for word in words]
    return Answer(words[int(np.argmax(logits))], 1, ended=True)


def _embedding(model_id: str, name: str) -> Floats:
    return generator(f"{model_id} {name}").standard_normal(DIMENSIONS, np.float32)
