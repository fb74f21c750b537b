"""What Bedrock has cost and may cost: the budget, its ledger, and what is paid for without being used.

The operators name the settling of bills through this package, which imports it when a task first settles one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

if TYPE_CHECKING:
    from airflow_bedrock.spend import settling as settling
else:
    __getattr__ = lazy_modules(__name__)
