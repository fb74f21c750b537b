"""Hooks for Amazon Bedrock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports

__all__ = ["BedrockHook", "BedrockRuntimeHook"]

if TYPE_CHECKING:
    from airflow_bedrock.hooks.bedrock import BedrockHook, BedrockRuntimeHook
else:
    __getattr__ = lazy_exports(__name__, {"BedrockHook": ".bedrock", "BedrockRuntimeHook": ".bedrock"})
