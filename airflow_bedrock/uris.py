"""Parse ARNs, and URIs of files and folders: ``s3://bucket/key``, ``file:///path``, or a plain path. No I/O."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

_FILE_URI = (
    r"s3://[a-zA-Z0-9._-]+(/.*)?"  # what botocore accepts as the name of a bucket
    r"|file:(//(localhost)?/.*|(?!//).+)"
    r"|(?![a-zA-Z][a-zA-Z0-9+.-]*:).+"  # a path, without a scheme
)


class Arn(msgspec.Struct, frozen=True):
    """The parts of an ARN. All are empty for a name."""

    partition: str = ""
    service: str = ""
    region: str = ""
    account: str = ""
    resource: str = ""

    @classmethod
    def of(cls, text: str) -> Arn:
        """Return the parts of an ARN, or of a name."""
        scheme, *parts = text.split(":", 5)
        return cls(*parts) if scheme == "arn" and len(parts) == 5 else cls()


def file_uri(value: object) -> str:
    """Return a URI, if it is valid for a file or a folder.

    :raises ValueError: says what it must be.
    """
    if not isinstance(value, str) or value == "None" or value != value.strip() or not re.fullmatch(_FILE_URI, value):
        raise ValueError("must be s3://bucket/key, file:///path, or a path on the local disk")
    return value


def s3_uri(value: object) -> str:
    """Return a URI, if it is valid for an object or a prefix on S3.

    :raises ValueError: says what it must be.
    """
    uri = file_uri(value)
    if not is_s3(uri):
        raise ValueError("must be s3://bucket/key")
    return uri


def is_s3(uri: str) -> bool:
    """Whether the URI is on S3."""
    return uri.startswith("s3://")


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Split ``s3://bucket/key``; the key may be empty."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def bucket_of(uri: str) -> str | None:
    """Return the bucket of a file on S3; None for a local file."""
    return bucket_and_key(uri)[0] if is_s3(uri) else None


def local_path(uri: str) -> Path:
    """Return the path of a file on the local disk."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


def same(uri: str, other: str) -> bool:
    """Whether both URIs name the same file."""
    return _normalised(uri) == _normalised(other)


def lies_in(uri: str, folder: str) -> bool:
    """Whether a file or folder is the folder itself, or in it at any depth."""
    return f"{_normalised(uri)}/".startswith(f"{_normalised(folder)}/")


def name_in(uri: str, folder: str) -> str:
    """Return the path of a file within a folder."""
    return uri.removeprefix(folder) if is_s3(uri) else str(local_path(uri).relative_to(local_path(folder)))


def join(uri: str, name: str) -> str:
    """Return the URI of a file in the folder that ``uri`` names."""
    return f"{uri.rstrip('/')}/{name}"


def _normalised(uri: str) -> str:
    """Return the normalised form of the name of a file or folder, without the final slash."""
    return uri.rstrip("/") if is_s3(uri) else os.path.realpath(local_path(uri)).rstrip("/")
