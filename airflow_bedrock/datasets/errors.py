"""The errors of data preparation."""

from __future__ import annotations


class DatasetError(ValueError):
    """The data or the settings are wrong; the message never has a record's text."""
