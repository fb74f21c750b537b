"""The lineage of a customization job for OpenLineage: training data in, model out. Only its provider imports this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.providers.common.compat.openlineage.facet import Dataset
from airflow.providers.openlineage.extractors import OperatorLineage

from airflow_bedrock.uris import bucket_and_key


def customization_lineage(data_uris: Iterable[str], result: Mapping[str, Any]) -> OperatorLineage[Any, Any]:
    """Return the datasets of a job.

    Names follow OpenLineage's convention for S3; the model is named by its ARN, in a namespace of Bedrock's.

    :param result: the job's result mapping; empty if the task did not wait for the model.
    """
    inputs = [Dataset(namespace=f"s3://{bucket}", name=key or "/") for bucket, key in map(bucket_and_key, data_uris)]
    arn = result.get("custom_model_arn")
    outputs = [Dataset(namespace=f"bedrock://{arn.split(':')[3]}", name=arn)] if arn else []
    return OperatorLineage(inputs=inputs, outputs=outputs)
