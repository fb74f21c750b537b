"""The package's section ``[bedrock]`` of Airflow's configuration, and its defaults."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import conf

from airflow_bedrock.get_provider_info import DEFAULT_POLL_INTERVAL


def poll_interval() -> float:
    """Seconds between two looks at a job: ``[bedrock] poll_interval``."""
    return float(conf.getfloat("bedrock", "poll_interval", fallback=DEFAULT_POLL_INTERVAL))
