"""Training data: what a good record is, whether a dataset has only good ones, and how to make one from any source.

Everything is a stream of lines, each identified by its file and number::

    sources      any file, query or folder → JSON Lines
    reading      a record in any shape → a conversation
    formats      a conversation → a line in the base model's format
    rules        a line → what is wrong with it: types, rules of the format, limits of the base model
    checking     a file → every problem and a summary                    (airflow-bedrock check)
    preparation  sources → training, validation and test files           (BedrockDatasetPreparationOperator)

:mod:`blocks` cuts files for several processes, :mod:`repeats` finds duplicates on disk. No Airflow import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports
from airflow_bedrock.datasets.choices import OnConflict, RecordFormat, Split
from airflow_bedrock.datasets.errors import DatasetError

__all__ = [
    "DatasetError",
    "OnConflict",
    "PreparationReport",
    "RecordFormat",
    "Rules",
    "Settings",
    "Source",
    "Split",
    "prepare",
    "rules_for",
]

if TYPE_CHECKING:
    from airflow_bedrock.datasets.preparation import PreparationReport, Settings, Source, prepare
    from airflow_bedrock.datasets.rules import Rules, rules_for
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "PreparationReport": ".preparation",
            "Rules": ".rules",
            "Settings": ".preparation",
            "Source": ".preparation",
            "prepare": ".preparation",
            "rules_for": ".rules",
        },
    )
