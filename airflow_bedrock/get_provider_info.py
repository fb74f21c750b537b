"""The package's metadata for Airflow: ``airflow providers list``, the operator catalog, the configuration options."""

from __future__ import annotations

from typing import Any

# Seconds.
DEFAULT_POLL_INTERVAL = 60.0
DEFAULT_POLL_INTERVAL_MAX = 600.0
DEFAULT_NO_RESPONSE_TIMEOUT = 3600.0


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
        "operators": _modules(
            "operators",
            (
                "customization",
                "batch_answers",
                "copy_job",
                "custom_model",
                "dataset",
                "dataset_check",
                "deployment",
                "evaluation",
                "idle_cost",
                "import_job",
                "orphans",
                "promotion",
                "promotion_gate",
                "provisioned_throughput",
                "retirement",
            ),
        ),
        "sensors": _modules("sensors", ("customization",)),
        "hooks": _modules("hooks", ("bedrock", "registry")),
        "extra-links": [
            f"airflow_bedrock.links.{name}"
            for name in (
                "CustomizationJobLink",
                "CustomModelLink",
                "OutputDataLink",
                "TrainingDataLink",
                "EvaluationReportLink",
                "PaidResourceLink",
            )
        ],
        "triggers": _modules("triggers", ("customization", "deployment")),
        "notifications": ["airflow_bedrock.notifications.BedrockNotifier"],
        "config": {
            "bedrock": {
                "description": "How this Airflow identifies itself to Amazon Bedrock, waits, and limits the cost.",
                "options": {
                    "environment": {
                        "description": "Name of this Airflow deployment. Deployments that share an AWS account, "
                        "such as dev and prod, need different names, so that none adopts the jobs of another. Keep the "
                        "name when Airflow moves: a new name finds no earlier job. Default: [api] base_url, "
                        "or airflow.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "prod",
                        "default": "",
                    },
                    "registry_uri": {
                        "description": "S3 prefix of the registry, which records the model that serves in each line, "
                        "e.g. s3://bucket/registry. Deployments of Airflow that share it promote to the same lines.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "s3://my-bucket/registry",
                        "default": "",
                    },
                    "poll_interval": {
                        "description": "Seconds between two polls of a model customization job, unless the task sets "
                        "its own. A job takes hours on AWS, and seconds on Local Bedrock.",
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "120",
                        "default": str(DEFAULT_POLL_INTERVAL),
                    },
                    "poll_interval_max": {
                        "description": "Maximum seconds between two polls of a model customization job: while the "
                        "service throttles, or for a sensor with exponential_backoff and without max_wait.",
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "1800",
                        "default": str(DEFAULT_POLL_INTERVAL_MAX),
                    },
                    "no_response_timeout": {
                        "description": "Seconds without a response from the service after which a waiting task fails. "
                        "The job is not stopped. 0 for no limit.",
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "7200",
                        "default": str(DEFAULT_NO_RESPONSE_TIMEOUT),
                    },
                    "live_aws_conn_id": {
                        "description": "Airflow connection with which the API server reads the present state of a "
                        "running job each time its page is opened. It needs bedrock:GetModelCustomizationJob. Empty: "
                        "the API server does not call AWS.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "aws_read_only",
                        "default": "",
                    },
                    "prices": {
                        "description": "Path of a TOML file with your own prices, for example negotiated ones. They "
                        "override the packaged prices.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/airflow/prices.toml",
                        "default": "",
                    },
                    "monthly_budget": {
                        "description": "Monthly limit in US dollars for everything that costs money, by UTC. The cost "
                        "of a job is reserved in a ledger on S3 before the job is made. Empty for no limit.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "500",
                        "default": "",
                    },
                    "dag_budgets": {
                        "description": "Monthly limits of single DAGs in US dollars, as a JSON object by DAG id.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": '{"retrain": 100}',
                        "default": "",
                    },
                    "over_budget": {
                        "description": "What a task does if it is over a budget: fail, or wait for the next month "
                        "without a worker slot. A task may override it.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "wait",
                        "default": "fail",
                    },
                    "ledger_uri": {
                        "description": "S3 prefix of the budget's ledger. Deployments of Airflow that share it share "
                        "the budget. Default: spend in the registry's prefix.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "s3://my-bucket/spend",
                        "default": "",
                    },
                    "ledger_kms_key_id": {
                        "description": "Id, ARN or alias of the KMS key that encrypts the budget's ledger. Default: "
                        "the bucket's encryption.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "alias/ledger",
                        "default": "",
                    },
                },
            }
        },
    }


def _modules(folder: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    modules = [f"airflow_bedrock.{folder}.{name}" for name in names]
    return [{"integration-name": "Amazon Bedrock model customization", "python-modules": modules}]
