"""Reads what a client sent as strictly as AWS does: what Python's own readers would take, or fall over, is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any
from urllib.parse import parse_qs, unquote

from airflow_bedrock.local.errors import ServiceError

_MOST_NESTED = 100
"""How deep JSON may be; AWS does not say. Python's readers and writers end at about 1,000."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCOPE = re.compile(r"[^/]+/\d{8}/([a-z0-9-]{1,40})/([a-z0-9._-]{1,64})/aws4_request")
"""A credential: key, day, region, service."""


def read_json(body: bytes) -> dict[str, Any]:
    """Return a body's JSON object.

    :raises ServiceError: SerializationException, when it is not JSON, or has numbers, characters or a depth that
        JSON does not have.
    """
    try:
        content = json.loads(body, parse_float=_float, parse_int=_int, parse_constant=_constant)
        if rb"\ud" in body.lower():
            json.dumps(content, ensure_ascii=False).encode()  # half a character alone cannot be written
    except (ValueError, RecursionError) as error:
        raise serialization("The request's body is not JSON.") from error
    if not isinstance(content, dict):
        raise serialization("The request's body is not a JSON object.")
    if body.count(b"{") + body.count(b"[") > _MOST_NESTED and _depth(content) > _MOST_NESTED:
        raise serialization(f"The request's body is nested more than {_MOST_NESTED} deep.")
    return content


def serialization(message: str) -> ServiceError:
    """Return a SerializationException: the request cannot be read."""
    return ServiceError("SerializationException", message)


def readable(target: str) -> bool:
    """Whether the escapes of a path and query are whole and stand for UTF-8."""
    if _BAD_ESCAPE.search(target):
        return False
    try:
        unquote(target, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def signed_for(authorization: str, query: str) -> tuple[str, str]:
    """Return the service and the region that a request is signed for, by its header or its URL, or nothing.

    :raises ServiceError: IncompleteSignatureException, when the signature names none.
    """
    if authorization.startswith("AWS "):
        return "", ""  # the signature before the fourth version, which S3 alone still takes
    if authorization.startswith("Bearer "):
        return "bedrock", ""  # an Amazon Bedrock API key; no other service here takes one
    if authorization:
        credential = authorization.partition("Credential=")[2].partition(",")[0].strip()
    elif "X-Amz-Credential" in query:
        credential = parse_qs(query).get("X-Amz-Credential", [""])[0]
    else:
        return "", ""
    if not (matched := _SCOPE.fullmatch(credential)):
        raise ServiceError(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential' parameter of the form KEY/DATE/REGION/SERVICE/aws4_request.",
        )
    return matched[2], matched[1]


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number


def _int(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text} is out of range")
    return number


def _constant(text: str) -> float:
    raise ValueError(f"JSON has no {text}")


def _depth(content: Any) -> int:
    depth, level = 0, [content]
    while level:
        inside = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        depth, level = depth + 1, [item for one in inside for item in one]
    return depth
