"""What Airflow reads about this package: ``airflow providers list``, the UI's operator catalogue, configuration."""

from __future__ import annotations

from typing import Any

DEFAULT_POLL_INTERVAL = 60.0  # seconds


def get_provider_info() -> dict[str, Any]:
    """Return the provider description that Airflow's providers manager loads."""
    from airflow_bedrock import __version__

    return {
        "package-name": "airflow-bedrock",
        "name": "Amazon Bedrock model customization",
        "description": "Amazon Bedrock model customization: prepare data, fine-tune, wait, deploy, evaluate.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Amazon Bedrock model customization",
                "external-doc-url": "https://docs.aws.amazon.com/bedrock/latest/userguide/custom-models.html",
                "tags": ["aws", "ai"],
            }
        ],
        "operators": _modules("operators", ("customization", "custom_model", "dataset", "deployment", "evaluation")),
        "sensors": _modules("sensors", ("customization",)),
        "hooks": _modules("hooks", ("bedrock",)),
        "triggers": _modules("triggers", ("customization", "deployment")),
        "config": {
            "bedrock": {
                "description": "How airflow-bedrock waits for Amazon Bedrock.",
                "options": {
                    "poll_interval": {
                        "description": "Seconds between two looks at a model customization job, unless a task says "
                        "otherwise. A job takes hours on AWS; Local Bedrock's take seconds.",
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "120",
                        "default": str(DEFAULT_POLL_INTERVAL),
                    }
                },
            }
        },
    }


def _modules(folder: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    modules = [f"airflow_bedrock.{folder}.{name}" for name in names]
    return [{"integration-name": "Amazon Bedrock model customization", "python-modules": modules}]
