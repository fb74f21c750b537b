"""The tools of a question: whether the model's answer calls one, and with which input.

The small model knows no tools. It calls one if its answer is a call, ``{"name": "…", "input": {…}}`` (Llama writes
``parameters``), because it was tuned on such answers; or if ``toolChoice`` forces it: then the input has what the
tool's schema requires, with the answer in each text.

https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from airflow_bedrock.local.errors import invalid, unsupported

_VALUES: dict[str, Any] = {"number": 0, "integer": 0, "boolean": False, "array": [], "null": None}
"""The value of a required property that the answer does not have, by JSON type."""


@dataclass(frozen=True)
class Tools:
    """The tools that a model may call.

    :param schemas: the JSON schema of each tool's input, by the tool's name.
    :param forced: the tool to call whatever the model answers.
    """

    schemas: Mapping[str, Mapping[str, Any]]
    forced: str | None = None

    def call(self, text: str) -> dict[str, Any] | None:
        """Return the ``toolUse`` block of an answer; None if it calls no tool."""
        try:
            call = msgspec.json.decode(text)
        except msgspec.DecodeError:
            call = None
        call = call if isinstance(call, dict) else {}
        name = call.get("name")
        given = call.get("input", call.get("parameters", {}))
        if name not in self.schemas or (self.forced or name) != name or not isinstance(given, dict):
            if self.forced is None:
                return None
            name, given = self.forced, call or _value(self.schemas[self.forced], text)
        return {"toolUseId": f"tooluse_{uuid.uuid4().hex[:22]}", "name": name, "input": given}


def tools_of(body: Mapping[str, Any]) -> Tools | None:
    """Return the tools of a Converse request.

    :raises ServiceError: ValidationException for tools that do not fit the messages or the choice.
    """
    config = body.get("toolConfig")
    if config is None:
        # https://github.com/langgenius/dify/issues/16421
        if any({"toolUse", "toolResult"} & set(block) for message in body["messages"] for block in message["content"]):
            raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return None
    if any("systemTool" in tool for tool in config["tools"]):
        raise unsupported("system tools")
    specs = [tool["toolSpec"] for tool in config["tools"] if "toolSpec" in tool]
    schemas = {spec["name"]: spec["inputSchema"].get("json") or {} for spec in specs}
    choice = config.get("toolChoice", {})
    if "any" in choice:
        return Tools(schemas, next(iter(schemas), None))
    forced = choice.get("tool", {}).get("name")
    if forced is not None and forced not in schemas:
        raise invalid(f"The toolChoice names the tool {forced}, which toolConfig.tools does not have.")
    return Tools(schemas, forced)


def _value(schema: Mapping[str, Any], text: str) -> Any:
    """Return a value with everything that a schema requires; its texts are the given one."""
    if schema.get("enum"):
        return text if text in schema["enum"] else schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _value(properties.get(name, {}), text) for name in schema.get("required", [])}
    return _VALUES.get(kind, text) if isinstance(kind, str) else text
