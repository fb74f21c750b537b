"""Triggers for Amazon Bedrock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports

__all__ = ["BedrockCustomModelDeploymentTrigger", "BedrockModelCustomizationTrigger"]

if TYPE_CHECKING:
    from airflow_bedrock.triggers.customization import BedrockModelCustomizationTrigger
    from airflow_bedrock.triggers.deployment import BedrockCustomModelDeploymentTrigger
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "BedrockCustomModelDeploymentTrigger": ".deployment",
            "BedrockModelCustomizationTrigger": ".customization",
        },
    )
