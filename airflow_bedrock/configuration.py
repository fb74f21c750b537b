"""The package's section ``[bedrock]`` of Airflow's configuration, and its defaults."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import conf

from airflow_bedrock.get_provider_info import DEFAULT_POLL_INTERVAL, DEFAULT_POLL_INTERVAL_MAX, DEFAULT_SILENCE_LIMIT


def poll_interval() -> float:
    """Seconds between two looks at a job: ``[bedrock] poll_interval``."""
    return float(conf.getfloat("bedrock", "poll_interval", fallback=DEFAULT_POLL_INTERVAL))


def poll_interval_max() -> float:
    """Seconds between two looks at a job, at the slowest: ``[bedrock] poll_interval_max``."""
    return float(conf.getfloat("bedrock", "poll_interval_max", fallback=DEFAULT_POLL_INTERVAL_MAX))


def silence_limit() -> float:
    """Seconds without any answer of the service after which a wait is given up: ``[bedrock] silence_limit``."""
    return float(conf.getfloat("bedrock", "silence_limit", fallback=DEFAULT_SILENCE_LIMIT))
