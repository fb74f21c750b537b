"""Check a record against the limits of ``base_models.toml``: tokens, bytes, reserved words, captions, media.

Where the service's own message is known, it is used word for word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from airflow_bedrock.base_models import Method
from airflow_bedrock.datasets.rules.record import Media, Problem, Record
from airflow_bedrock.uris import bucket_and_key, bucket_of, is_s3

_UNREADABLE = frozenset({"400", "403", "404"})  # to a HEAD, S3 responds with the status only


def limit_problems(
    method: Method, takes: Sequence[str], record: Record, size: int, bucket: str | None
) -> Iterator[Problem]:
    """Yield the limits that a record breaks.

    :param takes: what the base model accepts: TEXT, IMAGE, VIDEO.
    :param size: the size of the record's line, in bytes.
    :param bucket: the bucket of the data; None if it is not on S3 yet.
    """
    yield from _size(method, record, size)
    yield from _words(method, record)
    yield from _caption(method, record)
    if record.media:
        yield from _media(method, takes, record.media)
        for one in record.media:
            yield from _media_location(method, one, bucket)


def kinds_problem(kinds: Collection[str]) -> Problem | None:
    """Return the problem of a record, or a dataset, that has both images and videos.

    :param kinds: the kinds of media: ``image``, ``video``.
    """
    if len(kinds) < 2:
        return None
    return Problem("media-kinds", "$", "a dataset may hold images or videos, but not both.")


def object_problem(method: Method, media: Media, s3: Any) -> Problem | None:
    """Return the problem of an image, a video or a document on S3 that cannot be read or is too large.

    :param s3: a client.
    :raises ClientError: S3 did not respond.
    """
    from botocore.exceptions import ClientError, ParamValidationError  # here, since a DAG file does not need it

    bucket, key = bucket_and_key(media.uri)
    try:
        size = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _UNREADABLE:
            raise
        return unreadable_problem(media)
    except ParamValidationError:  # not a valid name of a bucket
        return unreadable_problem(media)
    limit = method.max_video_bytes if media.kind == "video" else method.max_image_bytes
    if limit is None or size <= limit:
        return None
    message = f"the {media.kind} {media.uri} has {size} bytes, more than {limit}."
    return Problem("media-size", media.where, message)


def unreadable_problem(media: Media) -> Problem:
    """Return the problem of an image, a video or a document that cannot be read."""
    bucket, key = bucket_and_key(media.uri)
    message = f"Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key {key}."
    return Problem("media-access", media.where, message)


def _size(method: Method, record: Record, size: int) -> Iterator[Problem]:
    if (most := method.max_line_bytes) is not None and size > most:
        yield Problem("line-bytes", "$", f"Input size exceeded: the record has {size} bytes, more than {most}.")
    prompt, completion = record.prompt, record.completion or ""
    for text, limit, part in (
        (prompt + record.reasoning + completion, method.max_tokens, "input"),
        (prompt, method.max_input_tokens, "input"),
        (completion, method.max_output_tokens, "output"),
    ):
        # No character is more than one token.
        if limit is not None and len(text) > limit and (count := method.tokens(text)) > limit:
            yield Problem("tokens", "$", f"Maximum {part} token count {count} exceeds limit of {limit}.")
            return


def _words(method: Method, record: Record) -> Iterator[Problem]:
    for role, text, where in record.texts:
        found = [one for one in method.reserved_sequences if one in text]
        if role != "assistant" and method.reserved_words:
            lower = text.lower()
            found += [word for word in method.reserved_words if word.lower() in lower]
        for word in found:
            message = f"the text holds the reserved word {word.strip()}."
            yield Problem("reserved-word", where, message)


def _caption(method: Method, record: Record) -> Iterator[Problem]:
    length = len(record.completion or "")
    if method.min_text is not None and length < method.min_text:
        message = f"the caption has {length} characters, fewer than {method.min_text}."
        yield Problem("caption-length", "$.caption", message)
    if method.max_text is not None and length > method.max_text:
        message = f"the caption has {length} characters, more than {method.max_text}."
        yield Problem("caption-length", "$.caption", message)


def _media(method: Method, takes: Sequence[str], media: Sequence[Media]) -> Iterator[Problem]:
    counts = Counter(one.kind for one in media)
    if problem := kinds_problem(counts.keys()):
        yield problem
    limits = {"image": method.max_images, "video": method.max_videos, "document": method.max_documents}
    for kind, count in counts.items():
        if kind != "document" and kind.upper() not in takes:
            yield Problem("media-kinds", "$", f"the base model does not accept {kind}s.")
        if (limit := limits[kind]) is not None and count > limit:
            yield Problem("media-count", "$", f"it holds {count} {kind}s, more than {limit}.")


def _media_location(method: Method, media: Media, bucket: str | None) -> Iterator[Problem]:
    kind, uri = media.kind, media.uri
    if not is_s3(uri):
        yield Problem("media-uri", media.where, f"the {kind} {uri} is not in Amazon S3.")
        return
    if method.media_uri is not None and not re.fullmatch(method.media_uri, "/".join(bucket_and_key(uri))):
        yield Problem(
            "media-uri",
            media.where,
            f"the {kind} {uri} has characters in its URI other than letters, digits, underscores, "
            "hyphens, slashes and dots.",
        )
    formats = method.media_formats.get(kind)
    if formats and media.format is not None and media.format.lower() not in formats:
        message = f"the {kind} {uri} is {media.format or 'without a format'}; it must be {', '.join(formats)}."
        yield Problem("media-format", media.where, message)
    if method.media_in_bucket and bucket is not None and bucket_of(uri) != bucket:
        message = f"the {kind} {uri} is not in the bucket {bucket}."
        yield Problem("media-bucket", media.where, message)
