"""The package's metadata for Airflow: ``airflow providers list``, the links of tasks, the configuration options."""

from __future__ import annotations

from typing import Any

# Seconds.
DEFAULT_POLL_INTERVAL = 60.0
DEFAULT_POLL_INTERVAL_MAX = 600.0
DEFAULT_NO_RESPONSE_TIMEOUT = 3600.0


def _option(
    description: str, *, example: str, default: object = "", kind: str = "string", since: str = "0.2.0"
) -> dict[str, str]:
    return {
        "description": description,
        "version_added": since,
        "type": kind,
        "example": example,
        "default": str(default),
    }


_OPTIONS = {
    "environment": _option(
        "Name of this Airflow deployment. Deployments that share an AWS account, such as dev and prod, need different "
        "names, so that none adopts the jobs of another. Keep the name when Airflow moves: a new name finds no earlier"
        " job. Default: [api] base_url, or airflow.",
        example="prod",
        since="0.1.0",
    ),
    "registry_uri": _option(
        "S3 prefix of the registry, which records the model that serves in each line, e.g. s3://bucket/registry. "
        "Deployments of Airflow that share it promote to the same lines.",
        example="s3://my-bucket/registry",
    ),
    "poll_interval": _option(
        "Seconds between two polls of a model customization job, unless the task sets its own. A job takes hours on "
        "AWS, and seconds on Local Bedrock.",
        example="120",
        default=DEFAULT_POLL_INTERVAL,
        kind="float",
        since="0.1.0",
    ),
    "poll_interval_max": _option(
        "Maximum seconds between two polls of a model customization job: while the service throttles, or for a sensor "
        "with exponential_backoff and without max_wait.",
        example="1800",
        default=DEFAULT_POLL_INTERVAL_MAX,
        kind="float",
        since="0.1.0",
    ),
    "no_response_timeout": _option(
        "Seconds without a response from the service after which a waiting task fails. The job is not stopped. 0 for "
        "no limit.",
        example="7200",
        default=DEFAULT_NO_RESPONSE_TIMEOUT,
        kind="float",
        since="0.1.0",
    ),
    "live_aws_conn_id": _option(
        "Airflow connection with which the API server reads the current state of a running job each time its page is "
        "opened. It needs bedrock:GetModelCustomizationJob. Empty: the API server does not call AWS.",
        example="aws_read_only",
    ),
    "prices": _option(
        "Path of a TOML file with your own prices, for example negotiated ones. They override the packaged prices.",
        example="/opt/airflow/prices.toml",
        since="0.1.0",
    ),
    "monthly_budget": _option(
        "Limit in US dollars for each month (UTC) for everything that costs money. The cost of a job is reserved in a "
        "ledger on S3 before the job is made. Empty for no limit.",
        example="500",
    ),
    "dag_budgets": _option(
        "Monthly limits of single DAGs in US dollars, as a JSON object by DAG id.", example='{"retrain": 100}'
    ),
    "over_budget": _option(
        "What a task does if it is over a budget: fail, or wait for the next month without a worker slot. A task may "
        "override it.",
        example="wait",
        default="fail",
    ),
    "ledger_uri": _option(
        "S3 prefix of the budget's ledger. Deployments of Airflow that share it share the budget. Default: spend in "
        "the registry's prefix.",
        example="s3://my-bucket/spend",
    ),
    "ledger_kms_key_id": _option(
        "Id, ARN or alias of the KMS key that encrypts the budget's ledger. Default: the bucket's encryption.",
        example="alias/ledger",
    ),
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider description that Airflow's providers manager loads."""
    from airflow_bedrock import __version__

    name = "Amazon Bedrock model customization"
    links = ("CustomizationJob", "CustomModel", "OutputData", "TrainingData", "EvaluationReport", "PaidResource")
    triggers = [f"airflow_bedrock.triggers.{module}" for module in ("customization", "deployment")]
    return {
        "package-name": "airflow-bedrock",
        "name": name,
        "description": f"{name}: prepare data, fine-tune, wait, deploy, evaluate.",
        "versions": [__version__],
        "extra-links": [f"airflow_bedrock.links.{link}Link" for link in links],
        "triggers": [{"integration-name": name, "python-modules": triggers}],
        "notifications": ["airflow_bedrock.notifications.BedrockNotifier"],
        "config": {
            "bedrock": {
                "description": "How this Airflow identifies itself to Amazon Bedrock, waits, and limits the cost.",
                "options": _OPTIONS,
            }
        },
    }
