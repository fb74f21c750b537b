"""The errors of data preparation."""

from __future__ import annotations


class DatasetError(ValueError):
    """The data, or what was asked of it, is wrong; its message never holds a record's text."""
