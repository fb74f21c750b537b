"""Tags: those in Create requests, TagResource, UntagResource, ListTagsForResource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.local.errors import ServiceError, not_found
from airflow_bedrock.local.state.bedrock import Bedrock

MAX_TAGS = 50
"""The service's limit for one resource, although its model allows 200."""


def tag_resource(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Add tags to a resource; an existing key gets the new value."""
    with bedrock.world.lock:
        arn = _existing(bedrock, request)
        added = {one["key"] for one in request["tags"]}
        _check_number(len(added | set(bedrock.tags.get(arn, {}))), "resource")
        bedrock.tag(arn, request["tags"])
    return {}


def untag_resource(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Remove tags from a resource; keys that it does not have are ignored."""
    with bedrock.world.lock:
        tags = bedrock.tags.get(_existing(bedrock, request), {})
        for key in request["tagKeys"]:
            tags.pop(key, None)
    return {}


def list_tags_for_resource(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List the tags of a resource."""
    tags = bedrock.tags.get(_existing(bedrock, request), {})
    return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}


def check_tags(request: Mapping[str, Any]) -> None:
    """Check the number of tags for each resource that the request makes.

    :raises ServiceError: TooManyTagsException.
    """
    for member, value in request.items():
        if member.lower().endswith("tags"):
            _check_number(len(value), member)


def _check_number(number: int, what: str) -> None:
    if number > MAX_TAGS:
        raise ServiceError("TooManyTagsException", f"The {what} must not hold more than {MAX_TAGS} tags.")


def _existing(bedrock: Bedrock, request: Mapping[str, Any]) -> str:
    """Return the ARN of the request's resource."""
    arn: str = request["resourceARN"]
    if not any(one.arn == arn for one in bedrock.resources()):
        raise not_found(f"The provided resource {arn} was not found.")
    return arn
