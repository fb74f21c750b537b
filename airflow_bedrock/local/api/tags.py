"""Tags, as far as requests bring them along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.local.errors import ServiceError

MAX_TAGS = 50
"""The service takes no more on one resource, though its model allows 200."""


def check_tags(request: Mapping[str, Any], *members: str) -> None:
    """Check the number of tags for each resource that the request makes.

    :raises ServiceError: TooManyTagsException.
    """
    for member in members:
        if len(request.get(member, [])) > MAX_TAGS:
            raise ServiceError("TooManyTagsException", f"The {member} must not hold more than {MAX_TAGS} tags.")
