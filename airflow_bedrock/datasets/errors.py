"""The errors of data preparation."""

from __future__ import annotations


class DatasetError(ValueError):
    """The data or the settings are wrong; the message never holds a record's text."""
