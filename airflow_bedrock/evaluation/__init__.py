"""Is one model better than another: metrics of answers, and their comparison. No Airflow import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports

__all__ = [
    "METRICS",
    "Difference",
    "Metric",
    "Rules",
    "Scoring",
    "Verdict",
    "exact_match",
    "mcnemar",
    "metric",
    "wilson_interval",
]

if TYPE_CHECKING:
    from airflow_bedrock.evaluation.comparison import Difference, Verdict, mcnemar, wilson_interval
    from airflow_bedrock.evaluation.metrics import METRICS, Metric, exact_match, metric
    from airflow_bedrock.evaluation.scoring import Rules, Scoring
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            **dict.fromkeys(("Difference", "Verdict", "mcnemar", "wilson_interval"), ".comparison"),
            **dict.fromkeys(("METRICS", "Metric", "exact_match", "metric"), ".metrics"),
            **dict.fromkeys(("Rules", "Scoring"), ".scoring"),
        },
    )
