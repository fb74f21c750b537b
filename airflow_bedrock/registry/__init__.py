"""The model registry: the champion of each line of models, its challengers, promotion, rollback and retirement.

``register`` holds what is known of a line, and is pure. ``store`` keeps it in S3 with conditional writes. ``serving``
puts a model behind a deployment. ``promotion`` orders these steps so that a crash at any call leaves one model serving.

The operators reach its modules through this package, which imports each on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

if TYPE_CHECKING:
    from airflow_bedrock.registry import approval as approval
    from airflow_bedrock.registry import gate as gate
    from airflow_bedrock.registry import register as register
    from airflow_bedrock.registry import retirement as retirement
else:
    __getattr__ = lazy_modules(__name__)
