"""Tokens: text survives being cut up, and everything can be said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.learning.tokens import END, completion_vocabulary, features, tokenize


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    """Cutting text into tokens loses nothing, whatever the text."""
    assert "".join(tokenize(text)) == text


@given(st.lists(st.text(), max_size=5), st.integers(0, 5))
def test_vocabulary_can_say_every_completion(completions: list[str], size: int) -> None:
    """Each token is in the vocabulary, or all of its characters are, however small the vocabulary."""
    vocabulary = completion_vocabulary(completions, size)
    assert vocabulary[0] == END
    assert len(set(vocabulary)) == len(vocabulary)
    for completion in completions:
        for token in tokenize(completion):
            assert token in vocabulary or set(token) <= set(vocabulary)


def test_tokens_are_words_with_their_space() -> None:
    """A service's name is one token, and a word brings its space along."""
    assert tokenize("bedrock-runtime") == ["bedrock-runtime"]
    assert tokenize("Yes, it does.\n") == ["Yes", ",", " it", " does", ".", "\n"]


def test_features_are_words_and_pairs() -> None:
    """A prompt is described by its words and word pairs, whatever their case."""
    assert features("Creates a Table") == ["creates", "a", "table", "creates a", "a table"]
