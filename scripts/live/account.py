"""The AWS account of a live run, on Local Bedrock: the jobs that it has accepted."""

from __future__ import annotations

from typing import Any


def jobs(bedrock: Any) -> list[dict[str, Any]]:
    """Return what ListModelCustomizationJobs says of all jobs, which are billed."""
    pages = bedrock.get_paginator("list_model_customization_jobs").paginate()
    return [job for page in pages for job in page["modelCustomizationJobSummaries"]]
