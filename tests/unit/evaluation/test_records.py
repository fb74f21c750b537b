"""Records: what is asked, and what the answer should be, in each form of training data."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.evaluation.records import RecordError, read, record_of

ASK, SAY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
ASKED = [{"role": "user", "content": [{"text": "hi"}]}]


@pytest.mark.parametrize(
    ("fields", "request_", "reference"),
    [
        ({"prompt": "hi", "completion": "hello"}, {"messages": ASKED}, "hello"),
        ({"prompt": "hi", "referenceResponse": "hello", "category": "x"}, {"messages": ASKED}, "hello"),
        ({"prompt": "hi"}, {"messages": ASKED}, None),
        ({"messages": [ASK, SAY]}, {"messages": ASKED}, "hello"),
        ({"messages": [ASK]}, {"messages": ASKED}, None),
        ({"messages": [ASK], "reference_answer": {"b": 1}}, {"messages": ASKED}, '{"b":1}'),
        ({"messages": [ASK], "reference_answer": 0}, {"messages": ASKED}, "0"),
        ({"messages": [ASK], "reference_answer": False}, {"messages": ASKED}, "false"),
        ({"messages": [ASK, SAY], "reference_answer": ""}, {"messages": ASKED}, "hello"),
        (
            {"system": "Be brief", "messages": [ASK, SAY]},
            {"system": [{"text": "Be brief"}], "messages": ASKED},
            "hello",
        ),
        (
            {"messages": [{"role": "system", "content": "Be brief"}, ASK, SAY]},
            {"system": [{"text": "Be brief"}], "messages": ASKED},
            "hello",
        ),
        (
            {"messages": [{"role": "developer", "content": "Be brief"}, ASK, SAY], "tools": []},
            {"system": [{"text": "Be brief"}], "messages": ASKED},
            "hello",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "image": None}]}]},
            {"messages": ASKED},
            None,
        ),
        (
            {"messages": [ASK, {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "f"}}]}]},
            {"messages": ASKED},
            '{"input":null,"name":"f"}',
        ),
    ],
)
def test_forms(fields: dict[str, Any], request_: dict[str, Any], reference: str | None) -> None:
    """The last assistant turn is the reference, all before it is asked."""
    record = record_of(1, fields)
    assert (record.request, record.reference) == (request_, reference)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"prompt": " "}',
        '{"prompt": "secret", "completion": 7}',
        '{"messages": []}',
        '{"messages": [{"role": "assistant", "content": "secret"}]}',
        '{"messages": [{"role": "system", "content": "secret"}]}',
        '{"messages": [{"role": "user", "content": "secret"}, {"role": "user", "content": "secret"}]}',
        '{"messages": [{"role": "judge", "content": "secret"}]}',
        '{"messages": [{"role": "user", "content": ["secret"]}]}',
        '{"messages": [{"role": "user", "content": [{"image": {"source": {"bytes": "secret!"}}}]}]}',
        '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "secret"}}]}]}',
        '{"messages": [{"role": "user", "content": "secret"}], "tools": [{"type": "function"}]}',
        '{"system": 7, "messages": [{"role": "user", "content": "secret"}]}',
        "secret",
        "[" * 100_000,
    ],
)
def test_what_is_no_record(line: str) -> None:
    """The error has the number of the line, not its text."""
    with pytest.raises(RecordError, match=r"^Record 2: not a training record") as caught:
        list(read(iter([b"\n", line.encode()])))
    assert "secret" not in str(caught.value)


def test_why_a_line_cannot_be_read() -> None:
    """As preparation and check say it."""
    with pytest.raises(RecordError, match=r"^Record 1: not a training record: not in UTF-8$"):
        list(read(iter([b'{"prompt": "secret \xff"}'])))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "prompt", "system", "text", "toolUse", "user", "image"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_nothing_else_is_raised(value: Any) -> None:
    """Whatever a line holds, it is a record or it is refused."""
    try:
        for record in read(iter([msgspec.json.encode(value)])):
            assert isinstance(record.prompt, str)
    except RecordError:
        pass


def test_fields_to_slice_by() -> None:
    """A field, and a field within a field."""
    record = record_of(1, {"prompt": "hi", "completion": "hello", "meta": {"language": "en", "n": 3}})
    assert [record.value(path) for path in ("meta.language", "meta.n", "meta.x", "x.y")] == ["en", "3", None, None]
