"""Files on S3 and on the local disk, by URI: ``s3://bucket/key``, ``file:///path``, or a plain path.

S3 is called through boto3 with the client of an Airflow hook, so the operator's connection, region, endpoint,
``verify`` and ``botocore_config`` all apply. Airflow's ObjectStoragePath would be shorter, but it passes on only the
connection, uses a second HTTP stack, and runs its own event loop in a thread.

An object is copied to a temporary file before it is read, because S3 closes a stream that stays open for the hours of
an evaluation. So one file at a time is on disk, and none in memory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import CALL_ERRORS, error_code, with_remedy
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError, kind_of
from airflow_bedrock.uris import bucket_and_key, is_s3, local_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_MISSING = frozenset({"404", "NoSuchBucket", "NoSuchKey"})
_OF_THE_PATH = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)  # other errors are the disk's


class Storage:
    """Reads and writes whole files.

    :param s3: returns the S3 client; called on first use, so that local files need no AWS connection.
    :param kms_key_id: the KMS key that encrypts what is written to S3; None leaves it to the bucket.
    """

    def __init__(self, s3: Callable[[], S3Client], kms_key_id: str | None = None) -> None:
        self._s3 = s3
        self._kms_key_id = kms_key_id
        self._encryption: dict[str, Any] = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        )

    def files(self, uri: str) -> list[str]:
        """Return the one file that ``uri`` names, or every file under it if it ends with a slash, sorted.

        :raises BedrockFatalError: it does not exist, or it is a folder that does not end in a slash.
        """
        if not uri.endswith("/"):
            if not is_s3(uri) and local_path(uri).is_dir():
                raise BedrockFatalError(f"{uri} is a folder: end it with a slash to read every file under it.")
            return [uri]
        found = list(self.objects(uri) if is_s3(uri) else _local_files(uri))
        if not found:
            raise BedrockFatalError(f"There is no file under {uri}. Check the URI and the connection's access.")
        return sorted(found)

    def no_files(self, uri: str) -> list[str]:
        """Return the names of entries of a local folder that are neither files nor folders.

        These are pipes, and links to folders or to nothing: they are not followed.
        """
        if is_s3(uri) or not uri.endswith("/"):
            return []
        root = local_path(uri)
        found = (path for path in root.rglob("*") if not path.is_file() and (path.is_symlink() or not path.is_dir()))
        return sorted(str(path.relative_to(root)) for path in found)

    @contextmanager
    def read(self, uri: str) -> Iterator[BinaryIO]:
        """Open a file for reading.

        :raises BedrockFatalError: it does not exist, or cannot be read.
        :raises BedrockError: reading failed with a transient error.
        """
        with (
            tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as folder,
            self.fetch(uri, Path(folder, "copy")).open("rb") as file,
        ):
            yield file

    def fetch(self, uri: str, copy: Path, *, listed: bool = False) -> Path:
        """Return the local file that ``uri`` names, or ``copy`` with the content of the object on S3.

        :param listed: whether the file was found in a folder or a manifest, which a retry reads again.
        :raises BedrockFatalError: it does not exist, or cannot be read.
        :raises BedrockError: reading failed with a transient error, or a listed file no longer exists.
        """
        try:
            with _explained("read", uri):
                if not is_s3(uri):
                    if local_path(uri).is_fifo():
                        raise BedrockFatalError(
                            f"{uri} is a pipe, which can be read only once. Write the data to a file."
                        )
                    with local_path(uri).open("rb"):
                        return local_path(uri)
                bucket, key = bucket_and_key(uri)
                self._s3().download_file(bucket, key, str(copy))
                return copy
        except BedrockFatalError as error:
            if listed and _is_missing(error.__cause__):
                raise BedrockError(f"{uri} was deleted after it was listed. A retry lists the files again.") from error
            raise

    def check_folder(self, uri: str) -> None:
        """Check, as far as possible without writing, that files can be written to the folder.

        On S3, this checks that the bucket exists, if the connection has access to it; on disk, that the folder is
        writable or can be created.

        :raises BedrockFatalError: they cannot be written.
        :raises BedrockError: the check failed with a transient error.
        """
        with _explained("write to", uri):
            self._check_bucket(uri) if is_s3(uri) else _check_folder(local_path(uri))

    def write(self, file: Path, uri: str) -> bool:
        """Copy a local file to ``uri`` atomically; return False if the same content is already there.

        An existing file with the same content is left untouched, so its ETag and time stay the same. On S3 the content
        is identified by the SHA-256 that this method writes to the object's metadata; an object without it, or without
        the key's encryption, is written again.

        :raises BedrockFatalError: it cannot be written.
        :raises BedrockError: writing failed with a transient error.
        """
        with _explained("write", uri):
            return self._write_s3(file, uri) if is_s3(uri) else _write_local(file, local_path(uri))

    def folder(self, uri: str) -> Folder:
        """Return a folder of small files, by their names in it."""
        return Folder(self, self._s3, uri)

    def etag(self, uri: str) -> str:
        """Return what identifies a file's content: on S3 its ETag, on disk its digest.

        :raises BedrockFatalError: it does not exist, or cannot be read.
        """
        with _explained("read", uri):
            if not is_s3(uri):
                return _sha256(local_path(uri))
            bucket, key = bucket_and_key(uri)
            return self._s3().head_object(Bucket=bucket, Key=key)["ETag"]

    def _check_bucket(self, uri: str) -> None:
        bucket, _ = bucket_and_key(uri)
        try:
            self._s3().head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) != "403":
                raise
            log.warning("Access denied to bucket %s: cannot verify write access to %s", bucket, uri)

    def objects(self, uri: str) -> Iterator[str]:
        """Yield the URIs of the objects on S3 that begin with ``uri``.

        :raises BedrockFatalError: the bucket does not exist, or cannot be listed.
        """
        bucket, prefix = bucket_and_key(uri)
        with _explained("list", uri):
            for page in self._s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                yield from (
                    f"s3://{bucket}/{item['Key']}" for item in page.get("Contents", ()) if item["Key"][-1] != "/"
                )

    def _write_s3(self, file: Path, uri: str) -> bool:
        bucket, key = bucket_and_key(uri)
        digest, size = _sha256(file), file.stat().st_size
        if self._known(bucket, key) == (digest, size):
            return False
        extra = {"Metadata": {"sha256": digest}, **self._encryption}
        with file.open("rb") as content:
            self._s3().upload_fileobj(content, bucket, key, ExtraArgs=extra)
        return True

    def _known(self, bucket: str, key: str) -> tuple[str | None, int] | None:
        """Return the digest and the size of an object; None if it does not exist in that form, or cannot be read."""
        try:
            head = self._s3().head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) not in (*_MISSING, "403"):  # 403 for a missing object, without ListBucket
                raise
            return None
        return (head["Metadata"].get("sha256"), head["ContentLength"]) if self._is_encrypted(head) else None

    def _is_encrypted(self, head: Mapping[str, Any]) -> bool:
        """Whether an object is encrypted as configured. S3 returns the key's ARN; an alias may stand for any key."""
        if not self._kms_key_id:
            return True
        key: str = head.get("SSEKMSKeyId", "")
        return head.get("ServerSideEncryption") == "aws:kms" and (
            "alias/" in self._kms_key_id or key.endswith(self._kms_key_id)
        )


class Folder:
    """A folder of small files, read and written as a whole, by name; several threads may use it.

    Errors are those of :class:`Storage`.
    """

    def __init__(self, storage: Storage, s3: Callable[[], S3Client], uri: str) -> None:
        self._storage = storage
        self._s3 = s3
        self._uri = uri.rstrip("/")

    def names(self, prefix: str) -> Iterator[str]:
        """List the files whose names have the prefix; none if the folder does not exist."""
        if not is_s3(self._uri):
            root = local_path(self._uri)
            yield from (str(path.relative_to(root)) for path in (root / prefix).rglob("*.*") if path.is_file())
            return
        found = self._storage.objects(f"{self._uri}/{prefix}")
        yield from (uri.removeprefix(f"{self._uri}/") for uri in found)

    def read(self, name: str) -> bytes:
        """Return a file's content; empty if it was deleted since it was listed, because it has expired."""
        try:
            with self._storage.read(f"{self._uri}/{name}") as file:
                return file.read()
        except BedrockFatalError as error:
            if _is_missing(error.__cause__):
                return b""
            raise

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self._storage.write(Path(file.name), f"{self._uri}/{name}")

    def delete(self, name: str) -> bool:
        """Delete a file; return False if that is not allowed."""
        uri = f"{self._uri}/{name}"
        try:
            with _explained("delete", uri):
                if is_s3(uri):
                    bucket, key = bucket_and_key(uri)
                    self._s3().delete_object(Bucket=bucket, Key=key)
                else:
                    local_path(uri).unlink(missing_ok=True)
        except BedrockFatalError:
            return False
        return True


@contextmanager
def _explained(doing: str, uri: str) -> Iterator[None]:
    """Convert errors of S3 and the disk to the errors of this package."""
    what = f"Could not {doing} {uri}"
    try:
        yield
    except CALL_ERRORS as error:
        if isinstance(error, ClientError) and error_code(error) in _MISSING:
            raise BedrockFatalError(f"{what}: {_missing(error, uri)}. Check the URI.") from error
        raise kind_of(error)(f"{what}: {with_remedy(error)}") from error
    except FileNotFoundError as error:
        raise BedrockFatalError(f"{what}: it does not exist. Check the URI.") from error
    except FileExistsError as error:  # a file has the name of the folder
        raise BedrockFatalError(f"{what}: {error.filename} is a file, not a folder. Name another location.") from error
    except OSError as error:
        raise (BedrockFatalError if isinstance(error, _OF_THE_PATH) else BedrockError)(f"{what}: {error}") from error


def _is_missing(error: BaseException | None) -> bool:
    return isinstance(error, FileNotFoundError) or error_code(error) in _MISSING


def _missing(error: ClientError, uri: str) -> str:
    """Name what is missing; S3's response to HEAD does not distinguish a missing object from a missing bucket."""
    of_bucket = error_code(error) == "NoSuchBucket" or error.operation_name == "HeadBucket"
    return f"there is no bucket {bucket_and_key(uri)[0]}" if of_bucket else "it does not exist"


def _local_files(uri: str) -> Iterator[str]:
    return (str(path) for path in local_path(uri).rglob("*") if path.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _check_folder(folder: Path) -> None:
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{nearest} is not writable")


def _write_local(file: Path, target: Path) -> bool:
    if target.is_file() and _sha256(target) == _sha256(file):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as folder:
        copy = Path(folder, target.name)
        shutil.copyfile(file, copy)
        copy.replace(target)  # atomic: readers see the old file or the new one
    return True
