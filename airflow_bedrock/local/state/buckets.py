"""Keeps the objects of all S3 buckets as plain files that a person can read, and restores them.

It uses only the S3 API. A restored object has its former ETag, since users detect changed data by it: a multipart
upload is repeated with parts of the same size. Versions, tags and settings of buckets are not kept.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from airflow_bedrock.local.checksums import ALGORITHMS, checksum
from airflow_bedrock.local.state.store import Store, write_whole

_DETAILS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Metadata",
    "StorageClass",
)
"""The members of GetObject that PutObject accepts."""


class _Object(msgspec.Struct):
    """The properties of an object that its file does not have.

    :param part_size: the size of the first part of a multipart upload, in bytes.
    :param checksum: algorithm and type of its checksum.
    """

    file: str
    etag: str
    details: dict[str, Any]
    part_size: int | None = None
    checksum: tuple[str, str] = ("CRC64NVME", "FULL_OBJECT")


class _Bucket(msgspec.Struct):
    region: str


class Buckets:
    """The buckets, and their files in a directory.

    :param directory: objects go to ``s3/<bucket>/<key>`` in it.
    :param store: keeps these properties.
    :param s3: a boto3 client.
    """

    def __init__(self, directory: Path, store: Store, s3: Any) -> None:
        self._directory = directory
        self._store = store
        self._s3 = s3
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._objects: dict[str, dict[str, _Object]] = {}
        for name, value in store.values.items():
            kind, _, rest = name.partition("/")
            bucket, _, key = rest.partition("/")
            if kind == "bucket":
                self._buckets[bucket] = msgspec.json.decode(value, type=_Bucket)
            elif kind == "object":
                self._objects.setdefault(bucket, {})[key] = msgspec.json.decode(value, type=_Object)
        self._files = {one.file.casefold() for objects in self._objects.values() for one in objects.values()}

    def names(self) -> list[str]:
        """Return the buckets that are kept."""
        return [*self._buckets]

    def write(self, bucket: str, key: str = "") -> None:
        """Write one object, or all changed objects of a bucket; remove the files of deleted objects."""
        with self._lock:
            if key:
                self._write(bucket, key)
                return
            try:
                region = self._s3.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1"
                pages = list(self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
            except ClientError:
                self._forget_bucket(bucket)
                return
            self._buckets[bucket] = _Bucket(region)
            self._store.write({f"bucket/{bucket}": msgspec.json.encode(self._buckets[bucket])})
            etags = {found["Key"]: found["ETag"].strip('"') for page in pages for found in page.get("Contents", [])}
            known = self._objects.setdefault(bucket, {})
            for key in set(known) - set(etags):
                self._forget(bucket, key)
            for key, etag in etags.items():
                if key not in known or known[key].etag != etag:
                    self._write(bucket, key)

    def restore(self) -> None:
        """Make the buckets and put the objects; files that a person has added become objects too."""
        for name, bucket in self._buckets.items():
            make_bucket(self._s3, name, bucket.region)
        for name, objects in self._objects.items():
            for key, kept in list(objects.items()):
                if (self._directory / kept.file).exists():
                    self._put(name, key, kept)
                else:
                    self._forget(name, key)
        self._put_added()

    def _write(self, bucket: str, key: str) -> None:
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError:
            self._forget(bucket, key)
            return
        file = self._place(bucket, key)
        with answer["Body"]:
            write_whole(self._directory / file, lambda path: _copy(answer["Body"], path))
        etag = answer["ETag"].strip('"')
        part_size = None
        if "-" in etag:
            part_size = self._s3.head_object(Bucket=bucket, Key=key, PartNumber=1)["ContentLength"]
        details = {name: answer[name] for name in _DETAILS if name in answer}
        (algorithm,) = [name for name in ALGORITHMS if f"Checksum{name}" in answer]
        kept = _Object(file, etag, details, part_size, (algorithm, answer["ChecksumType"]))
        self._objects.setdefault(bucket, {})[key] = kept
        self._files.add(file.casefold())
        self._store.write({f"object/{bucket}/{key}": msgspec.json.encode(kept)})

    def _place(self, bucket: str, key: str) -> str:
        """Return the file of a key, relative to the directory; an existing object keeps its file.

        A key gets a file named by its digest if it is not a valid file name (``a//b``, ``../x``, ``folder/``), if it is
        a folder of another key or has another key as its folder, or if it differs from another only by case.
        """
        if kept := self._objects.get(bucket, {}).get(key):
            return kept.file
        file = f"s3/{bucket}/{key}"
        if _nameable(key) and file.casefold() not in self._files:
            path = self._directory / file
            if not path.is_dir() and not any(parent.is_file() for parent in path.parents):
                return file
        return f"s3-other/{bucket}/{hashlib.sha256(key.encode()).hexdigest()}"

    def _forget(self, bucket: str, key: str) -> None:
        if (kept := self._objects.get(bucket, {}).pop(key, None)) is None:
            return
        self._store.write({f"object/{bucket}/{key}": None})
        self._files.discard(kept.file.casefold())
        self._remove(self._directory / kept.file)

    def _forget_bucket(self, bucket: str) -> None:
        for key in list(self._objects.get(bucket, {})):
            self._forget(bucket, key)
        self._buckets.pop(bucket, None)
        self._store.write({f"bucket/{bucket}": None})

    def _remove(self, path: Path) -> None:
        """Remove a file, and the folders that are then empty: a file may take the place of a folder."""
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self._directory or any(folder.iterdir()):
                return
            folder.rmdir()

    def _put(self, bucket: str, key: str, kept: _Object) -> None:
        details = {"Bucket": bucket, "Key": key, **kept.details}
        algorithm, kind = kept.checksum
        with (self._directory / kept.file).open("rb") as file:
            if not kept.part_size:
                content = file.read()
                self._s3.put_object(Body=content, **details, **_checksum(algorithm, content))
                return
            begun = self._s3.create_multipart_upload(**details, ChecksumAlgorithm=algorithm, ChecksumType=kind)
            upload = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}
            parts: list[dict[str, Any]] = []
            while part := file.read(kept.part_size):
                part_of = {"PartNumber": len(parts) + 1, **_checksum(algorithm, part)}
                parts.append({"ETag": self._s3.upload_part(Body=part, **upload, **part_of)["ETag"], **part_of})
        self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def _put_added(self) -> None:
        known = {one.file for objects in self._objects.values() for one in objects.values()}
        for path in sorted((self._directory / "s3").glob("*/**/*")):
            file = path.relative_to(self._directory).as_posix()
            if path.is_file() and file not in known and not path.name.startswith("."):
                _, bucket, key = file.split("/", 2)
                if bucket not in self._buckets:
                    make_bucket(self._s3, bucket, "us-east-1")
                self._s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
                self.write(bucket, key)


def _checksum(algorithm: str, content: bytes) -> dict[str, str]:
    """Return the member with a content's checksum; boto3 cannot compute all of them itself."""
    return {f"Checksum{algorithm}": checksum(algorithm, content)}


def _copy(body: Any, path: Path) -> None:
    with path.open("wb") as file:
        for chunk in body.iter_chunks(1 << 20):
            file.write(chunk)


def make_bucket(s3: Any, name: str, region: str) -> None:
    """Create a bucket unless it exists; us-east-1 must not be given as a location."""
    elsewhere = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=name, **elsewhere)


def _nameable(key: str) -> bool:
    names = key.split("/")
    return all(name not in ("", ".", "..") and len(name.encode()) < 200 and "\0" not in name for name in names) and (
        not names[-1].startswith(".")  # files that begin with a dot are ignored when files are read back
    )
