"""The core: what a customization job is asked for, known by, and ends in. No Airflow import, no I/O.

The operators name through this package what they need only when a task runs; it is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

if TYPE_CHECKING:
    from airflow_bedrock.customization import console as console
    from airflow_bedrock.customization import decision as decision
    from airflow_bedrock.customization import failure as failure
    from airflow_bedrock.customization import job as job
    from airflow_bedrock.customization import remedy as remedy
    from airflow_bedrock.customization import tags as tags
    from airflow_bedrock.customization import waiters as waiters
else:
    __getattr__ = lazy_modules(__name__)
