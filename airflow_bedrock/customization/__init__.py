"""The core of model customization: the request, the identity, and the states of a job. No Airflow import, no I/O.

The operators reach its modules through this package, which imports each on first use: a DAG file does not need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

if TYPE_CHECKING:
    from airflow_bedrock.customization import console as console
    from airflow_bedrock.customization import decision as decision
    from airflow_bedrock.customization import identity as identity
    from airflow_bedrock.customization import job as job
    from airflow_bedrock.customization import model_rules as model_rules
    from airflow_bedrock.customization import remedy as remedy
    from airflow_bedrock.customization import tags as tags
    from airflow_bedrock.customization import waiters as waiters
else:
    __getattr__ = lazy_modules(__name__)
