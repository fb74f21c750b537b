"""Data preparation: record formats, limits, checks, deduplication, splits. No Airflow import, no I/O of its own."""

from __future__ import annotations

from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import RecordFormat, decode, encode
from airflow_bedrock.datasets.limits import Limits, format_for, limits_for
from airflow_bedrock.datasets.preparation import PreparationReport, Settings, prepare
from airflow_bedrock.datasets.records import Example
from airflow_bedrock.datasets.source import read_jsonl
from airflow_bedrock.datasets.split import Split, Splitter

__all__ = [
    "DatasetError",
    "Example",
    "Limits",
    "PreparationReport",
    "RecordFormat",
    "Settings",
    "Split",
    "Splitter",
    "decode",
    "encode",
    "format_for",
    "limits_for",
    "prepare",
    "read_jsonl",
]
