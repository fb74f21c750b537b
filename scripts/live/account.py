"""The AWS account of a live run, on Local Bedrock: its training data, and the jobs that it has accepted."""

from __future__ import annotations

import json
from typing import Any


def training_data(records: int = 20, answer: str = "hello") -> bytes:
    """Return so many records of one question and one answer."""
    turns = [{"role": role, "content": [{"text": text}]} for role, text in (("user", "hello"), ("assistant", answer))]
    return f"{json.dumps({'schemaVersion': 'bedrock-conversation-2024', 'messages': turns})}\n".encode() * records


def jobs(bedrock: Any) -> list[dict[str, Any]]:
    """Return what ListModelCustomizationJobs says of all jobs, which are billed."""
    pages = bedrock.get_paginator("list_model_customization_jobs").paginate()
    return [job for page in pages for job in page["modelCustomizationJobSummaries"]]
