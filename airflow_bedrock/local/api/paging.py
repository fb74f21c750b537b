"""Lists: common filters, order, and pages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Kind

PAGE = 100
"""Default number of items on a page; the service's own is not published."""


def listed(
    request: Mapping[str, Any],
    member: str,
    items: Iterable[Kind],
    describe: Callable[[Kind], dict[str, Any]],
    created: str = "creationTime",
    **filters: str,
) -> dict[str, Any]:
    """Return the response of a List: one page of the items that match the request's filters, in its order.

    :param member: the member of the response for the described items.
    :param created: the prefix of the names of the time filters.
    :param filters: the attribute that each of the operation's own filters compares.
    """
    after, before, equal = f"{created}After", f"{created}Before", {"statusEquals": "status", **filters}
    found = [
        item
        for item in items
        if request.get("nameContains", "") in item.name
        and all(request[name] == getattr(item, equal[name]) for name in equal if name in request)
        and (after not in request or item.creation_time > request[after])
        and (before not in request or item.creation_time < request[before])
    ]
    # Items come in the order of creation, which also orders those of the same millisecond.
    shown, more = page(found if request.get("sortOrder") == "Ascending" else found[::-1], request)
    return {member: [describe(item) for item in shown], **more}


def page(items: Sequence[Any], request: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, str]]:
    """Return one page, and ``{"nextToken": ...}`` if there are more.

    The token contains the ARN of the last item, so that items created between two calls shift nothing.

    :param items: each has an ``arn``.
    :raises ServiceError: ValidationException for a token that no List returned.
    """
    start = 0
    if token := request.get("nextToken"):
        last = _decode(token)
        start = next((place for place, item in enumerate(items, start=1) if item.arn == last), 0)
        if not start:
            raise invalid("The provided nextToken is invalid. Start again without one.")
    end = start + request.get("maxResults", PAGE)
    shown = items[start:end]
    return shown, {"nextToken": _encode(shown[-1].arn)} if end < len(items) else {}


def _encode(arn: str) -> str:
    return base64.urlsafe_b64encode(arn.encode()).decode()


def _decode(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:  # not base64, or not text
        return ""
