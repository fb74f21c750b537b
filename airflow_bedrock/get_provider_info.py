"""What Airflow reads about this package: ``airflow providers list``, the UI's operator catalogue, configuration."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider description that Airflow's providers manager loads."""
    from airflow_bedrock import __version__

    return {
        "package-name": "airflow-bedrock",
        "name": "Amazon Bedrock model customization",
        "description": "Amazon Bedrock model customization: prepare data, fine-tune, wait, deploy, evaluate.",
        "versions": [__version__],
    }
