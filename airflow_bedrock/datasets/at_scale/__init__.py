"""Select training records where the data is: a query for Athena, and a job for Spark on EMR Serverless or Glue.

Both write gzipped JSON Lines with ``prompt`` and ``completion`` to a folder that BedrockDatasetPreparationOperator
takes as its ``source_uri``. The operator applies the rules of the base model and assigns the splits; the Spark job
assigns the same splits.
"""

from __future__ import annotations

from pathlib import Path

SPARK_JOB = Path(__file__).with_name("select_records.py")
"""Needs pyspark 3.5 or later and Python 3.9 or later, and nothing of this package: copy it to S3."""


def athena_query(selected: str) -> str:
    """Return the query for Athena: a template over ``params.records`` and ``params.fraction``, as its file says.

    :param selected: the folder to write to, such as ``s3://bucket/selected/``; it may be a template.
    """
    _, unload, query = Path(__file__).with_name("select_records.sql").read_text().partition("UNLOAD")
    return (unload + query).replace("{{ selected }}", selected)
