"""Sensors for Amazon Bedrock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports

__all__ = ["BedrockModelCustomizationSensor"]

if TYPE_CHECKING:
    from airflow_bedrock.sensors.customization import BedrockModelCustomizationSensor
else:
    __getattr__ = lazy_exports(__name__, {"BedrockModelCustomizationSensor": ".customization"})
