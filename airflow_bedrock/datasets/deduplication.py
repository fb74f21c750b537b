"""Which records have been seen before: one pass, a digest for each distinct prompt, the first record wins."""

from __future__ import annotations

from enum import Enum

from airflow_bedrock.datasets.records import Example, text_digest


class Seen(Enum):
    """What is known of a record's prompt."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """The same prompt has come before, with the same completion."""
    CONFLICT = "conflict"
    """The same prompt has come before, with another completion: somebody should look at the data."""


class Deduplicator:
    """Tells new records from duplicates and conflicts; texts are compared in their normalised form.

    Memory: two digests, 24 bytes, for each distinct prompt; under 200 bytes as Python keeps them, 20 MB for 100,000
    records. The texts themselves are not kept.
    """

    def __init__(self) -> None:
        self._completions: dict[bytes, bytes] = {}

    def look(self, example: Example) -> Seen:
        """Return what is known of the example's prompt, and remember it."""
        completion = text_digest(example.completion)[:8]
        first = self._completions.setdefault(text_digest(example.prompt), completion)
        if first is completion:
            return Seen.NEW
        return Seen.DUPLICATE if first == completion else Seen.CONFLICT
