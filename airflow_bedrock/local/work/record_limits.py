"""What a record may hold, by the base model's limits: tokens, bytes, reserved words, captions, images and videos."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.base_models import Method
from airflow_bedrock.local.work.records import Media, Record, RecordError
from airflow_bedrock.local.work.s3 import split_uri


class RecordLimits:
    """Checks one record after the other.

    :param method: how the base model is customized.
    :param takes: what the base model takes: TEXT, IMAGE, VIDEO.
    :param s3: a client, for the sizes of images and videos.
    :param bucket: the data's; some models want images and videos there too.
    :param may_read: whether the job's role may read an object.
    :param kinds: which of images and videos the job's data holds so far; all its files share it.
    """

    def __init__(
        self,
        method: Method,
        takes: tuple[str, ...],
        s3: Any,
        bucket: str,
        may_read: Callable[[str], bool],
        kinds: set[str],
    ) -> None:
        self._method = method
        self._may_read = may_read
        self._takes = takes
        self._s3 = s3
        self._bucket = bucket
        self._kinds = kinds

    def __call__(self, record: Record, line: bytes) -> None:
        """Check one record.

        :raises RecordError: it breaks a limit.
        """
        self._check_size(record, line)
        self._check_words(record)
        self._check_caption(record)
        if record.media:
            self._check_media(record.media)

    def _check_size(self, record: Record, line: bytes) -> None:
        if (most := self._method.max_line_bytes) is not None and len(line) > most:
            raise RecordError(f"Input size exceeded: the record has {len(line)} bytes, more than {most}.")
        if excess := self._method.excess(record.prompt, record.completion or ""):
            part, count, limit = excess
            raise RecordError(f"Maximum {part} token count {count} exceeds limit of {limit}.")

    def _check_words(self, record: Record) -> None:
        if word := self._method.reserved_word(record.asked, record.answers):
            raise RecordError(f"Invalid record: the text holds the reserved word {word.strip()}.")

    def _check_caption(self, record: Record) -> None:
        length, rules = len(record.completion or ""), self._method
        if rules.min_text is not None and length < rules.min_text:
            raise RecordError(f"Invalid record: the caption has {length} characters, fewer than {rules.min_text}.")
        if rules.max_text is not None and length > rules.max_text:
            raise RecordError(f"Invalid record: the caption has {length} characters, more than {rules.max_text}.")

    def _check_media(self, media: tuple[Media, ...]) -> None:
        rules, counts = self._method, Counter(one.kind for one in media)
        self._kinds.update(counts.keys() & {"image", "video"})
        if len(counts) > 1 or len(self._kinds) > 1:
            raise RecordError("Invalid record: a dataset may hold images or videos, but not both.")
        limits = {"image": rules.max_images, "video": rules.max_videos, "document": rules.max_documents}
        for kind, count in counts.items():
            if kind != "document" and kind.upper() not in self._takes:
                raise RecordError(f"Invalid record: the base model takes no {kind}s.")
            if (limit := limits[kind]) is not None and count > limit:
                raise RecordError(f"Invalid record: it holds {count} {kind}s, more than {limit}.")
        for one in media:
            self._check_object(one)

    def _check_object(self, media: Media) -> None:
        bucket, key = split_uri(media.uri)
        if not media.uri.startswith("s3://"):
            raise RecordError(f"Invalid record: the {media.kind} {media.uri} is not in Amazon S3.")
        if self._method.media_uri is not None and not re.fullmatch(self._method.media_uri, f"{bucket}/{key}"):
            raise RecordError(
                f"Invalid record: the {media.kind} {media.uri} has characters in its URI other than letters, digits, "
                "underscores, hyphens, slashes and dots."
            )
        formats = self._method.media_formats.get(media.kind)
        if formats and media.format and media.format.lower() not in formats:
            raise RecordError(
                f"Invalid record: the {media.kind} {media.uri} is {media.format}; it must be {', '.join(formats)}."
            )
        if self._method.media_in_bucket and bucket != self._bucket:
            raise RecordError(f"Invalid record: the {media.kind} {media.uri} is not in the bucket {self._bucket}.")
        unreadable = RecordError(
            f"Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key {key}."
        )
        if not self._may_read(media.uri):
            raise unreadable
        try:
            size = self._s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
        except ClientError as error:
            raise unreadable from error
        limit = self._method.max_video_bytes if media.kind == "video" else self._method.max_image_bytes
        if limit is not None and size > limit:
            raise RecordError(f"Invalid record: the {media.kind} {media.uri} has {size} bytes, more than {limit}.")
