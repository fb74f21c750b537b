"""What Bedrock has cost and may cost: the budget, its ledger, and resources that cost money unused.

The operators reach its modules through this package, which imports each on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

if TYPE_CHECKING:
    from airflow_bedrock.spend import bill as bill
    from airflow_bedrock.spend import budget as budget
    from airflow_bedrock.spend import idle as idle
    from airflow_bedrock.spend import imported as imported
    from airflow_bedrock.spend import ledger as ledger
    from airflow_bedrock.spend import pricing as pricing
    from airflow_bedrock.spend import settling as settling
else:
    __getattr__ = lazy_modules(__name__)
