"""Quotas, as requests meet them."""

from __future__ import annotations

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.state.bedrock import Bedrock


def check_jobs(bedrock: Bedrock) -> None:
    """Check that one more customization job may be scheduled.

    :raises ServiceError: ServiceQuotaExceededException.
    """
    quotas, active = bedrock.world.settings.quotas, [job for job in bedrock.jobs.values() if job.active]
    _check("scheduled model customization jobs", len(active), quotas.scheduled_jobs)


def check_custom_models(bedrock: Bedrock) -> None:
    """Check that one more custom model may be made; those that are on their way count.

    :raises ServiceError: ServiceQuotaExceededException.
    """
    coming = sum(job.active for job in bedrock.jobs.values())
    coming += sum(job.active for job in bedrock.copies.values())
    _check("custom models", len(bedrock.models) + coming, bedrock.world.settings.quotas.custom_models)


def check_imports(bedrock: Bedrock) -> None:
    """Check that one more model may be imported.

    :raises ServiceError: ServiceQuotaExceededException.
    """
    quotas, active = bedrock.world.settings.quotas, sum(job.active for job in bedrock.imports.values())
    _check("model import jobs in progress", active, quotas.import_jobs)
    _check("imported models", len(bedrock.imported) + active, quotas.imported_models)


def check_deployments(bedrock: Bedrock) -> None:
    """Check that one more deployment may be made.

    :raises ServiceError: ServiceQuotaExceededException.
    """
    _check("custom model deployments", len(bedrock.deployments), bedrock.world.settings.quotas.deployments)
    check_changing_deployments(bedrock)


def check_changing_deployments(bedrock: Bedrock) -> None:
    """Check that one more deployment may be created or updated at this time.

    :raises ServiceError: ServiceQuotaExceededException.
    """
    changing = sum(deployment.active for deployment in bedrock.deployments.values())
    _check("custom model deployments in progress", changing, bedrock.world.settings.quotas.changing_deployments)


def check_model_units(bedrock: Bedrock, wanted: int) -> None:
    """Check that so many more model units may be had without a commitment.

    :raises ServiceError: ServiceQuotaExceededException.
    """
    used = sum(one.units for one in bedrock.throughputs.values() if one.commitment is None)
    most = bedrock.world.settings.quotas.model_units
    _check("model units without a commitment", used + wanted - 1, most)


def _check(what: str, used: int, most: int) -> None:
    if used >= most:
        raise ServiceError(
            "ServiceQuotaExceededException",
            f"You have reached the quota of {most} {what}. Wait until one has ended, delete one, or ask AWS for more.",
        )
