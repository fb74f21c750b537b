"""Keeps the objects of all S3 buckets as plain files, which a person can look at, and puts them back.

It goes through the S3 API only. An object comes back with its ETag, since that is how users tell data that changed: a
multipart upload is repeated with parts of the same size. Versions, tags and settings of buckets are not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from airflow_bedrock.local.state.files import write_whole


class _Object(msgspec.Struct):
    """What a file does not tell of its object.

    :param part_size: bytes of the first part of a multipart upload.
    """

    file: str
    etag: str
    content_type: str
    metadata: dict[str, str]
    part_size: int | None = None


class _Bucket(msgspec.Struct):
    region: str
    objects: dict[str, _Object]


class Buckets:
    """The buckets, and their files below a directory.

    :param directory: objects go to ``s3/<bucket>/<key>`` there, and what files do not tell to ``s3.json``.
    :param s3: a boto3 client.
    """

    def __init__(self, directory: Path, s3: Any) -> None:
        self._directory = directory
        self._index = directory / "s3.json"
        self._s3 = s3

    def save(self) -> None:
        """Write the objects that changed, and remove the files of those that are gone."""
        before = self._read_index()
        after = {name["Name"]: self._save_bucket(name["Name"], before) for name in self._s3.list_buckets()["Buckets"]}
        gone = _files(before) - _files(after)
        for file in gone:
            (self._directory / file).unlink(missing_ok=True)
        write_whole(self._index, lambda path: _write(path, msgspec.json.format(msgspec.json.encode(after))))

    def restore(self) -> None:
        """Make the buckets and put the objects into them; files that somebody has added become objects too."""
        index = self._read_index()
        for name, bucket in index.items():
            self._make_bucket(name, bucket.region)
            for key, kept in bucket.objects.items():
                if (self._directory / kept.file).exists():
                    self._put(name, key, kept)
        self._put_added(index)

    def _read_index(self) -> dict[str, _Bucket]:
        if not self._index.exists():
            return {}
        return msgspec.json.decode(self._index.read_bytes(), type=dict[str, _Bucket])

    def _save_bucket(self, name: str, before: dict[str, _Bucket]) -> _Bucket:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=name)
        etags = {found["Key"]: found["ETag"].strip('"') for page in pages for found in page.get("Contents", [])}
        files = place_keys(name, etags)
        known = before[name].objects if name in before else {}
        # First what is in the way: a file stands where a folder has to be, when keys came or went.
        for key, old in known.items():
            if files.get(key) != old.file:
                (self._directory / old.file).unlink(missing_ok=True)
        objects = {}
        for key, file in files.items():
            kept = known.get(key)
            if kept is None or (kept.file, kept.etag) != (file, etags[key]) or not (self._directory / file).exists():
                kept = self._save_object(name, key, file)
            if kept is not None:
                objects[key] = kept
        region = self._s3.get_bucket_location(Bucket=name).get("LocationConstraint") or "us-east-1"
        return _Bucket(region, objects)

    def _save_object(self, bucket: str, key: str, file: str) -> _Object | None:
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key)
        except self._s3.exceptions.NoSuchKey:
            return None  # it was deleted since it was listed
        with answer["Body"]:
            write_whole(self._directory / file, lambda path: _copy(answer["Body"], path))
        etag = answer["ETag"].strip('"')
        part_size = None
        if "-" in etag:
            part_size = self._s3.head_object(Bucket=bucket, Key=key, PartNumber=1)["ContentLength"]
        return _Object(file, etag, answer["ContentType"], answer["Metadata"], part_size)

    def _put(self, bucket: str, key: str, kept: _Object) -> None:
        details = {"Bucket": bucket, "Key": key, "ContentType": kept.content_type, "Metadata": kept.metadata}
        with (self._directory / kept.file).open("rb") as file:
            if not kept.part_size:
                self._s3.put_object(Body=file, **details)
                return
            upload = {"Bucket": bucket, "Key": key, "UploadId": self._s3.create_multipart_upload(**details)["UploadId"]}
            parts: list[dict[str, Any]] = []
            while part := file.read(kept.part_size):
                number = len(parts) + 1
                parts.append({"PartNumber": number, "ETag": self._upload_part(upload, number, part)})
        self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def _upload_part(self, upload: dict[str, str], number: int, part: bytes) -> str:
        etag: str = self._s3.upload_part(**upload, PartNumber=number, Body=part)["ETag"]
        return etag

    def _put_added(self, index: dict[str, _Bucket]) -> None:
        root = self._directory / "s3"
        known = _files(index)
        for path in sorted(root.glob("*/**/*")):
            file = path.relative_to(self._directory).as_posix()
            if path.is_file() and file not in known and not path.name.startswith("."):
                _, bucket, key = file.split("/", 2)
                self._make_bucket(bucket, "us-east-1")
                self._s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    def _make_bucket(self, name: str, region: str) -> None:
        elsewhere = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._s3.create_bucket(Bucket=name, **elsewhere)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise


def place_keys(bucket: str, keys: Iterable[str]) -> dict[str, str]:
    """Return a file for each key, relative to the state directory: ``s3/<bucket>/<key>`` wherever that can be.

    A key that no file can be named after (``a//b``, ``../x``, ``folder/``), or that is a folder of another key, or that
    differs from another only by case, gets a file named by its digest, in ``s3-other/<bucket>``.
    """
    keys = list(keys)
    folders = {parent.as_posix().casefold() for key in keys for parent in PurePosixPath(key).parents}
    placed: dict[str, str] = {}
    taken: set[str] = set()
    for key in keys:
        folded = key.casefold()
        if _nameable(key) and folded not in folders and folded not in taken:
            placed[key] = f"s3/{bucket}/{key}"
        else:
            placed[key] = f"s3-other/{bucket}/{hashlib.sha256(key.encode()).hexdigest()}"
        taken.add(folded)
    return placed


def _nameable(key: str) -> bool:
    names = key.split("/")
    return all(name not in ("", ".", "..") and len(name.encode()) < 200 and "\0" not in name for name in names) and (
        not names[-1].startswith(".")  # files that begin with a dot are left alone when files are read back
    )


def _files(index: dict[str, _Bucket]) -> set[str]:
    return {kept.file for bucket in index.values() for kept in bucket.objects.values()}


def _copy(body: Any, path: Path) -> None:
    with path.open("wb") as file:
        for chunk in body.iter_chunks(1 << 20):
            file.write(chunk)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
