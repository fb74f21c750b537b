"""JSON objects below an S3 prefix. A write fails if the object has changed since it was read (If-Match)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from airflow_bedrock.aws_errors import CALL_ERRORS, error_code, with_remedy
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError, kind_of
from airflow_bedrock.uris import bucket_and_key, bucket_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Kept = TypeVar("Kept", bound=msgspec.Struct)

_CONFLICTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_MISSING = frozenset({"NoSuchKey", "404"})


class ConflictError(BedrockError):
    """Somebody else has changed the object since it was read; nothing was written."""


class JsonStore(Generic[Kept]):
    """Reads and writes the objects of one type under one S3 prefix, by name.

    :param kind: the type of the objects.
    :param noun: the noun for an object, such as ``register``.
    :param setting: the setting that names the prefix, for the error.
    :param uri: the prefix, e.g. ``s3://bucket/registry``.
    :param s3: returns the S3 client; called on first use.
    :param kms_key_id: the KMS key that encrypts the objects; None leaves it to the bucket.
    """

    def __init__(
        self,
        kind: type[Kept],
        noun: str,
        setting: str,
        uri: str,
        s3: Callable[[], S3Client],
        kms_key_id: str | None = None,
    ) -> None:
        if not bucket_of(uri):
            raise BedrockFatalError(
                f"{setting} must be s3://bucket/prefix; got {uri!r}. Set it (in a command, "
                f"--{setting.removesuffix('_uri')}), or [bedrock] {setting} in Airflow's configuration. "
                "Nothing was changed."
            )
        self._kind, self._noun = kind, noun
        self._bucket, prefix = bucket_and_key(uri)
        self._prefix = f"{prefix.rstrip('/')}/".lstrip("/")
        self._s3 = s3
        self._encryption: dict[str, Any] = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        )

    def read(self, name: str) -> tuple[Kept | None, str | None]:
        """Return the value under the name and its ETag; None for both before the first write.

        :raises BedrockFatalError: it cannot be read, or this version does not understand it.
        :raises BedrockError: reading failed with a transient error.
        """
        try:
            found = self._s3().get_object(Bucket=self._bucket, Key=self._key(name))
            body, etag = found["Body"].read(), found["ETag"]
        except CALL_ERRORS as error:
            if error_code(error) in _MISSING:
                return None, None
            raise self._explained("read", name, error) from error
        try:
            return msgspec.json.decode(body, type=self._kind), etag
        except msgspec.MsgspecError as error:
            a = "an" if self._noun[0] in "aeiou" else "a"
            raise BedrockFatalError(
                f"{self._uri(name)} is not {a} {self._noun} that this version understands: {error}. Nothing was "
                "changed. Restore an earlier version of the object, or upgrade airflow-bedrock."
            ) from error

    def put(self, name: str, kept: Kept, etag: str | None) -> str:
        """Write the value if it has not changed since it was read, and return its new ETag.

        :param etag: what :meth:`read` or the last ``put`` returned.
        :raises ConflictError: it has changed.
        """
        body = msgspec.json.format(msgspec.json.encode(kept), indent=2)
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(name)}
        try:
            written = self._s3().put_object(
                **where, Body=body, ContentType="application/json", **condition, **self._encryption
            )
        except CALL_ERRORS as error:
            # With If-Match, S3 responds with 404 if the object has been deleted.
            in_conflict = _CONFLICTS | (_MISSING if etag else frozenset())
            if error_code(error) not in in_conflict:
                raise self._explained("write", name, error) from error
            now, current = self.read(name)
            if current is not None and now == kept:
                return current  # this call wrote it, and its first response was lost
            raise ConflictError(
                f"{self._uri(name)} was changed by another task since it was read. A retry of this task "
                "starts from its current content."
            ) from error
        etag_now: str = written["ETag"]
        return etag_now

    def names(self) -> list[str]:
        """Return the sorted names of all objects."""
        try:
            pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        except CALL_ERRORS as error:
            raise self._explained("list", "", error) from error
        names = (key.removeprefix(self._prefix) for key in keys if key.endswith(".json"))
        return sorted(name.removesuffix(".json") for name in names if "/" not in name)

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}.json"

    def _uri(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._key(name) if name else self._prefix}"

    def _explained(self, doing: str, name: str, error: Exception) -> BedrockError:
        why = with_remedy(error, "Check the URI and the permissions.")
        return kind_of(error)(f"Could not {doing} the {self._noun} {self._uri(name)}: {why}")
