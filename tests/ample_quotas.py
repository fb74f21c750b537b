"""Quotas that tests of other things do not meet."""

from __future__ import annotations

from airflow_bedrock.local import Quotas

AMPLE = Quotas(
    scheduled_jobs=10_000,
    training_jobs=20,
    custom_models=10_000,
    deployments=1_000,
    changing_deployments=1_000,
    model_units=1_000,
    import_jobs=1_000,
    imported_models=1_000,
)
