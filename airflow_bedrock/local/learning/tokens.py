"""Text to tokens and back: completions without loss, prompts as the words and word pairs that describe them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

# A token carries the whitespace before it, so joining the tokens gives the text again, byte for byte.
_TOKEN = re.compile(r"\s*(?:\w+(?:[-'./]\w+)*|[^\w\s]+)|\s+\Z")
_WORD = re.compile(r"\w+")

END = ""
"""The token that ends a completion."""


def tokenize(text: str) -> list[str]:
    """Split text into tokens whose concatenation is the text."""
    return _TOKEN.findall(text)


def features(prompt: str) -> list[str]:
    """Return the words and word pairs of a prompt, lower case, in order, with repetitions."""
    words = _WORD.findall(prompt.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def completion_vocabulary(completions: Iterable[str], size: int) -> list[str]:
    """Choose the tokens of a model: the end, the most frequent tokens, and the characters that spell the others.

    :param size: the number of tokens to keep whole; the rest are spelled, so the model can produce every completion.
    """
    counts = Counter(token for completion in completions for token in tokenize(completion))
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    characters = {character for token in ranked[size:] for character in token}
    return [END, *dict.fromkeys([*ranked[:size], *sorted(characters)])]
