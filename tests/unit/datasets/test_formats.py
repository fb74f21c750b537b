"""Record formats: what is written is what the service reads, one line a record, and it can be read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.datasets import DatasetError, RecordFormat
from tests.training_records import Example, decode, encode

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
EXAMPLES = st.builds(Example, prompt=TEXT, completion=TEXT, system=st.none() | TEXT)


def test_converse_record() -> None:
    """The Converse format is what the Nova user guide shows."""
    record = json.loads(encode(Example("Where?", "Here", "Be brief"), RecordFormat.CONVERSE))
    assert record == {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": "Be brief"}],
        "messages": [
            {"role": "user", "content": [{"text": "Where?"}]},
            {"role": "assistant", "content": [{"text": "Here"}]},
        ],
    }


def test_claude_record() -> None:
    """Claude's format has plain strings for content, and no system member where there is no system prompt."""
    record = json.loads(encode(Example("Where?", "Here"), RecordFormat.CLAUDE))
    assert record == {
        "messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here"}],
    }


def test_prompt_completion_record() -> None:
    """The prompt-completion format has two strings, in UTF-8, not escaped."""
    assert (
        encode(Example("Où ?", "Ici"), RecordFormat.PROMPT_COMPLETION)
        == '{"prompt":"Où ?","completion":"Ici"}'.encode()
    )


def test_prompt_completion_has_no_system_prompt() -> None:
    """A system prompt that the format does not support is an error, not lost."""
    with pytest.raises(DatasetError, match=r"holds a system prompt, which the .* format does not support"):
        encode(Example("Where?", "Here", "Be brief"), RecordFormat.PROMPT_COMPLETION)


@given(EXAMPLES, st.sampled_from([RecordFormat.CONVERSE, RecordFormat.CLAUDE]))
def test_round_trip(example: Example, record_format: RecordFormat) -> None:
    """Every example survives being written and read, on one line."""
    line = encode(example, record_format)
    assert len(line.decode().splitlines()) == 1
    assert decode(line) == example


@pytest.mark.parametrize("end", ["\n", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("record_format", [RecordFormat.CONVERSE, RecordFormat.PROMPT_COMPLETION, RecordFormat.CLAUDE])
def test_no_line_end_within_a_record(end: str, record_format: RecordFormat) -> None:
    """Whatever a reader takes for a line end, a record has none, and the text keeps it."""
    example = Example(f"one{end}two", f"three{end}")
    line = encode(example, record_format)
    assert len(line.decode().splitlines()) == 1
    assert decode(line) == example


@given(TEXT, TEXT)
def test_round_trip_prompt_completion(prompt: str, completion: str) -> None:
    """The same, for the format without a system prompt."""
    line = encode(Example(prompt, completion), RecordFormat.PROMPT_COMPLETION)
    assert len(line.decode().splitlines()) == 1
    assert decode(line) == Example(prompt, completion)
