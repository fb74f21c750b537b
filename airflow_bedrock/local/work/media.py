"""The images, videos and documents of a job's data: there, readable by its role, and not too large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_bedrock.base_models import Method
from airflow_bedrock.datasets.rules import Media, Problem, Record, kinds_problem, object_problem, unreadable_problem


class MediaCheck:
    """Checks the media of one record after the other; all files of a job share it.

    :param method: how the base model is customized.
    :param s3: a client.
    :param may_read: whether the job's role may read an object.
    """

    def __init__(self, method: Method, s3: Any, may_read: Callable[[str], bool]) -> None:
        self._method = method
        self._s3 = s3
        self._may_read = may_read
        self._kinds: set[str] = set()

    def __call__(self, record: Record) -> Problem | None:
        """Return what is wrong with a record's media, or None."""
        self._kinds.update({one.kind for one in record.media} & {"image", "video"})
        objects = (self._object_problem(one) for one in record.media)
        return kinds_problem(self._kinds) or next(filter(None, objects), None)

    def _object_problem(self, media: Media) -> Problem | None:
        if not self._may_read(media.uri):
            return unreadable_problem(media)
        return object_problem(self._method, media, self._s3)
