"""Is one model better than another: metrics of answers, and their comparison. No Airflow import, no I/O."""

from __future__ import annotations

from airflow_bedrock.evaluation.comparison import Comparison, Verdict, sign_test, wilson_interval
from airflow_bedrock.evaluation.metrics import METRICS, Metric, exact_match, metric

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "Verdict",
    "exact_match",
    "metric",
    "sign_test",
    "wilson_interval",
]
