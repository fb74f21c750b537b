"""Reads requests as strictly as AWS does: it rejects those that Python's own parsers would accept, or fail on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec

from airflow_bedrock.local.errors import ServiceError

_MOST_NESTED = 100
"""Maximum depth of JSON; AWS does not document one. Python's parsers fail at about 1,000."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCOPE = re.compile(r"([^/]+)/\d{8}/([a-z0-9-]{1,40})/([a-z0-9._-]{1,64})/aws4_request")
"""A credential: key, day, region, service."""


def check_json(body: bytes) -> None:
    """Check that a body is a JSON object.

    :raises ServiceError: SerializationException, if it is not, or has a number or a depth that AWS rejects.
    """
    try:
        content = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise serialization("The request's body is not JSON.") from error
    if not isinstance(content, dict):
        raise serialization("The request's body is not a JSON object.")
    depth = 0
    level: list[Any] = [content]
    while level:
        if any(type(one) is int and not -(2**63) <= one < 2**63 for one in level):
            raise serialization("The request's body has a number out of range.")
        if depth > _MOST_NESTED:
            raise serialization(f"The request's body is nested more than {_MOST_NESTED} deep.")
        inside = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        depth, level = depth + 1, [item for one in inside for item in one]


def serialization(message: str) -> ServiceError:
    """Return a SerializationException: the request cannot be read."""
    return ServiceError("SerializationException", message)


def readable(target: str) -> bool:
    """Whether the percent-escapes of a path and query are complete and stand for UTF-8."""
    if _BAD_ESCAPE.search(target):
        return False
    try:
        unquote(target, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


class Signature(NamedTuple):
    """The signer and the service that a request names; empty if it names none."""

    key: str = ""
    region: str = ""
    service: str = ""
    token: str = ""


def signature_of(environ: Mapping[str, Any]) -> Signature:
    """Return the signature in a request's header or URL. It is not verified.

    :raises ServiceError: IncompleteSignatureException, if it names no service.
    """
    authorization, query = environ.get("HTTP_AUTHORIZATION", ""), environ.get("QUERY_STRING", "")
    if authorization.startswith("AWS "):
        return Signature()  # the signature before version 4, which only S3 still accepts
    if authorization.startswith("Bearer "):
        return Signature(service="bedrock")  # an Amazon Bedrock API key; no other service here accepts one
    if authorization:
        credential = authorization.partition("Credential=")[2].partition(",")[0].strip()
        token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "")
    elif "X-Amz-Credential" in query:
        given = parse_qs(query)
        credential, token = (given.get(name, [""])[0] for name in ("X-Amz-Credential", "X-Amz-Security-Token"))
    else:
        return Signature()
    if not (matched := _SCOPE.fullmatch(credential)):
        raise ServiceError(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential' parameter of the form KEY/DATE/REGION/SERVICE/aws4_request.",
        )
    return Signature(matched[1], matched[2], matched[3], token)
