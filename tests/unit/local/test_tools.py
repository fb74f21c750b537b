"""When an answer calls a tool."""

from __future__ import annotations

import pytest

from airflow_bedrock.local.work.tools import Tools

TOOLS = Tools({"weather": {}, "other": {}})


@pytest.mark.parametrize("member", ["input", "parameters"])
def test_answer_in_the_form_of_a_call_is_one(member: str) -> None:
    """A model that was tuned on calls answers with one."""
    call = TOOLS.call(f'{{"name": "weather", "{member}": {{"place": "Glasgow"}}}}')
    assert call is not None
    assert (call["name"], call["input"]) == ("weather", {"place": "Glasgow"})


@pytest.mark.parametrize(
    "text", ["sunny", "", '{"name": "nobody"}', '["weather"]', '{"name": "weather", "input": 1}', "{}"]
)
def test_any_other_answer_is_text(text: str) -> None:
    """Neither JSON of another form nor the call of an unknown tool is a call."""
    assert TOOLS.call(text) is None


def test_forced_tool_takes_json_as_its_input() -> None:
    """An answer that is an object is the input of the tool that must be called."""
    call = Tools({"weather": {"required": ["place"]}}, "weather").call('{"place": "Glasgow"}')
    assert call is not None
    assert call["input"] == {"place": "Glasgow"}


def test_forced_tool_gets_what_its_schema_requires() -> None:
    """Objects in objects too; what is not required is left out."""
    inner = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    schema = {"properties": {"at": inner, "days": {"type": "array"}, "x": {}}, "required": ["at", "days"]}
    call = Tools({"weather": schema}, "weather").call("Glasgow")
    assert call is not None
    assert call["input"] == {"at": {"city": "Glasgow"}, "days": []}
