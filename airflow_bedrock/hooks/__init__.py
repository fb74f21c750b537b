"""Hooks for Amazon Bedrock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports

__all__ = ["BedrockHook", "BedrockModelRegistryHook", "BedrockRuntimeHook"]

if TYPE_CHECKING:
    from airflow_bedrock.hooks.bedrock import BedrockHook, BedrockRuntimeHook
    from airflow_bedrock.hooks.registry import BedrockModelRegistryHook
else:
    __getattr__ = lazy_exports(
        __name__,
        {"BedrockHook": ".bedrock", "BedrockModelRegistryHook": ".registry", "BedrockRuntimeHook": ".bedrock"},
    )
