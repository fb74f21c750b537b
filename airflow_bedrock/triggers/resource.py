"""The trigger that waits for a resource of any kind, by its declaration: a new kind needs none of its own."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from airflow_bedrock.triggers.customization import BedrockModelCustomizationTrigger


class BedrockResourceTrigger(BedrockModelCustomizationTrigger):
    """Wait until a resource is no longer being made or run; events and arguments are those of the base.

    :param declaration: where it is declared what kind it is (``airflow_bedrock.jobs.resources``): ``module:name``.
    """

    def __init__(self, *, declaration: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.declaration = declaration
        self.resource = resolve_name(declaration)

    def _own_arguments(self) -> dict[str, Any]:
        return {"declaration": self.declaration, **super()._own_arguments()}
