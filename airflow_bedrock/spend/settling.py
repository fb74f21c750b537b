"""The bill of a thing that has ended, for any task that has waited for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_bedrock import configuration
from airflow_bedrock.exceptions import BedrockError

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.jobs.service import Service
    from airflow_bedrock.spend.bill import Bill

log = logging.getLogger(__name__)


def settled(service: Service, seen: Seen, s3: S3Hook) -> Bill | None:
    """Settle what a thing has cost, where a budget is set, and return it; None where it is not known.

    Nothing here fails a task whose thing is paid for.
    """
    try:
        if not configuration.has_budget():
            return None
        from airflow_bedrock.spend.books import Books
        from airflow_bedrock.spend.budget import settle

        books = Books(configuration.ledger_uri(), lambda: s3.conn, configuration.ledger_kms_key_id())
        return settle(books, service, seen, s3)
    except (BedrockError, ValueError) as error:
        log.warning("What %s has cost was not settled: %s", seen.arn, error)
        return None
