"""What a record may hold, by the base model's limits: tokens, bytes, reserved words, captions, images and videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.base_models import Method, document
from airflow_bedrock.local.work.records import DataError, Media, Record, RecordError
from airflow_bedrock.local.work.s3 import split_uri


class RecordLimits:
    """Checks one record after the other.

    :param method: how the base model is customized.
    :param takes: what the base model takes: TEXT, IMAGE, VIDEO.
    :param s3: a client, for the sizes of images and videos.
    :param bucket: the data's; some models want images and videos there too.
    :param may_read: whether the job's role may read an object.
    """

    def __init__(
        self, method: Method, takes: tuple[str, ...], s3: Any, bucket: str, may_read: Callable[[str], bool]
    ) -> None:
        self._method = method
        self._may_read = may_read
        self._takes = takes
        self._s3 = s3
        self._bucket = bucket

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
        rules, completion = self._method, record.completion or ""
        if (most := rules.max_line_bytes) is not None and len(line) > most:
            raise RecordError(f"Input size exceeded: the record has {len(line)} bytes, more than {most}.")
        for text, limit, part in (
            (record.prompt + completion, rules.max_tokens, "input"),
            (record.prompt, rules.max_input_tokens, "input"),
            (completion, rules.max_output_tokens, "output"),
        ):
            if limit is not None and (count := tokens(text)) > limit:
                raise RecordError(f"Maximum {part} token count {count} exceeds limit of {limit}.")

    def _check_words(self, record: Record) -> None:
        for word in self._method.reserved_words:
            if word in record.prompt or word in (record.completion or ""):
                raise RecordError(f"Invalid record: the text holds the reserved word {word}.")

    def _check_caption(self, record: Record) -> None:
        length, rules = len(record.completion or ""), self._method
        if rules.min_text is not None and length < rules.min_text:
            raise RecordError(f"Invalid record: the caption has {length} characters, fewer than {rules.min_text}.")
        if rules.max_text is not None and length > rules.max_text:
            raise RecordError(f"Invalid record: the caption has {length} characters, more than {rules.max_text}.")

    def _check_media(self, media: tuple[Media, ...]) -> None:
        counts = Counter(one.kind for one in media)
        if counts["image"] and counts["video"]:
            raise RecordError("Invalid record: it holds images and videos; it may hold only one kind.")
        for kind, limit in (("image", self._method.max_images), ("video", self._method.max_videos)):
            if counts[kind] and kind.upper() not in self._takes:
                raise RecordError(f"Invalid record: the base model takes no {kind}s.")
            if limit is not None and counts[kind] > limit:
                raise RecordError(f"Invalid record: it holds {counts[kind]} {kind}s, more than {limit}.")
        for one in media:
            self._check_object(one)

    def _check_object(self, media: Media) -> None:
        bucket, key = split_uri(media.uri)
        if not media.uri.startswith("s3://"):
            raise RecordError(f"Invalid record: the {media.kind} {media.uri} is not in Amazon S3.")
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
        limit = self._method.max_image_bytes if media.kind == "image" else self._method.max_video_bytes
        if limit is not None and size > limit:
            raise RecordError(f"Invalid record: the {media.kind} {media.uri} has {size} bytes, more than {limit}.")


def tokens(text: str) -> int:
    """Return about how many tokens a text has, by AWS's rule of thumb."""
    return -(-len(text) // document().characters_per_token)


def check_count(training: int, validation: int, method: Method) -> None:
    """Check the number of records.

    :raises DataError: when there are too few or too many.
    """
    low, high = method.min_records, method.max_records
    both = training + validation
    if both < low or (high is not None and both > high):
        raise DataError(
            f"The number of records in training and validation data is {both}; it must be between {low} and {high}"
        )
    most = method.max_validation_records
    if most is not None and validation > most:
        raise DataError(f"The number of records in validation data is {validation}; it must be at most {most}")
