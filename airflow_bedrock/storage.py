"""Files on S3 and on the local disk, by URI: ``s3://bucket/key``, ``file:///path``, or a plain path.

S3 is reached through boto3, with the client of an Airflow hook, so that the operator's connection, region, endpoint,
``verify`` and ``botocore_config`` all hold. Airflow's ObjectStoragePath would be shorter, but passes on the connection
alone, reaches S3 through a second HTTP stack, and runs an event loop of its own in a thread.

What is read is copied to a temporary file first: a stream that is held open for the hours that an evaluation takes
is a connection that S3 closes. So the disk holds one file at a time, and memory none.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import error_code, is_transient
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = frozenset({"404", "NoSuchBucket", "NoSuchKey"})


def join(uri: str, name: str) -> str:
    """Return the URI of a file in the folder that ``uri`` names."""
    return f"{uri.rstrip('/')}/{name}"


class Storage:
    """Reads and writes whole files.

    :param s3: gives the S3 client; called when first needed, so that local files need no AWS connection.
    """

    def __init__(self, s3: Callable[[], S3Client]) -> None:
        self._s3 = s3

    def jsonl_files(self, uri: str) -> list[str]:
        """Return the one file that ``uri`` names, or every ``*.jsonl`` under it if it ends with a slash, sorted.

        :raises BedrockFatalError: nothing is there.
        """
        if not uri.endswith("/"):
            return [uri]
        found = list(self._s3_keys(uri) if _is_s3(uri) else _local_files(uri))
        if not found:
            raise BedrockFatalError(
                f"There is no .jsonl file under {uri}. Check the place and the connection's access."
            )
        return sorted(found)

    @contextmanager
    def read(self, uri: str) -> Iterator[BinaryIO]:
        """Open a file for reading.

        :raises BedrockFatalError: it does not exist, or may not be read.
        :raises BedrockError: reading failed in a way that may pass.
        """
        if _is_s3(uri):
            with tempfile.TemporaryFile() as copy:
                with _explained(f"Could not read {uri}"):
                    bucket, key = _bucket_and_key(uri)
                    self._s3().download_fileobj(bucket, key, copy)
                copy.seek(0)
                yield copy
            return
        with _explained(f"Could not read {uri}"):
            file = _path(uri).open("rb")
        with file:
            yield file

    def write(self, file: Path, uri: str) -> bool:
        """Copy a local file to ``uri``, whole or not at all; return False if the same content is there already.

        What is there already is left untouched, so its ETag and its time stay. On S3 the content is known by the
        SHA-256 that this method leaves in the object's metadata; an object without it is written again.

        :raises BedrockFatalError: it may not be written.
        :raises BedrockError: writing failed in a way that may pass.
        """
        with _explained(f"Could not write {uri}"):
            return self._write_s3(file, uri) if _is_s3(uri) else _write_local(file, _path(uri))

    def _s3_keys(self, uri: str) -> Iterator[str]:
        bucket, prefix = _bucket_and_key(uri)
        with _explained(f"Could not list {uri}"):
            for page in self._s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                yield from (
                    f"s3://{bucket}/{item['Key']}" for item in page.get("Contents", ()) if _is_jsonl(item["Key"])
                )

    def _write_s3(self, file: Path, uri: str) -> bool:
        bucket, key = _bucket_and_key(uri)
        digest, size = _sha256(file), file.stat().st_size
        if self._known(bucket, key) == (digest, size):
            return False
        with file.open("rb") as content:
            self._s3().upload_fileobj(content, bucket, key, ExtraArgs={"Metadata": {"sha256": digest}})
        return True

    def _known(self, bucket: str, key: str) -> tuple[str | None, int] | None:
        """Return the digest and the size of an object; None if there is none, or none that may be looked at."""
        try:
            head = self._s3().head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) in {
                *_MISSING,
                "403",
            }:  # without ListBucket, S3 says 403 for an object that is not there
                return None
            raise
        return head["Metadata"].get("sha256"), head["ContentLength"]


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what S3 and the disk raise into the errors of this package."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error_code(error) in _MISSING:
            raise BedrockFatalError(f"{what}: it does not exist. Check the place.") from error
        raise (BedrockError if is_transient(error) else BedrockFatalError)(f"{what}: {error}") from error
    except FileNotFoundError as error:
        raise BedrockFatalError(f"{what}: it does not exist. Check the place.") from error


def _is_s3(uri: str) -> bool:
    scheme = urlsplit(uri).scheme
    if scheme not in {"s3", "file", ""}:
        raise BedrockFatalError(f"{uri}: only s3:// and local files can be read and written.")
    return scheme == "s3"


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise BedrockFatalError(f"{uri}: the name of the bucket is missing (s3://bucket/key).")
    return bucket, key


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


def _is_jsonl(name: str) -> bool:
    return name.endswith(".jsonl")


def _local_files(uri: str) -> Iterator[str]:
    return (str(path) for path in _path(uri).rglob("*.jsonl"))


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_local(file: Path, target: Path) -> bool:
    if target.is_file() and _sha256(target) == _sha256(file):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as folder:
        copy = Path(folder, target.name)
        shutil.copyfile(file, copy)
        copy.replace(target)  # atomic: a reader sees the old file or the new one
    return True
