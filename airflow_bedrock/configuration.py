"""The section ``[bedrock]`` of Airflow's configuration: its options, their defaults, and their valid values."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from airflow_bedrock.compat import conf, renamed
from airflow_bedrock.get_provider_info import (
    DEFAULT_NO_RESPONSE_TIMEOUT,
    DEFAULT_POLL_INTERVAL,
    DEFAULT_POLL_INTERVAL_MAX,
)


def poll_interval() -> float:
    """Seconds between two polls of a job: ``[bedrock] poll_interval``."""
    return _configured("poll_interval", DEFAULT_POLL_INTERVAL)


def poll_interval_max() -> float:
    """Maximum seconds between two polls of a job: ``[bedrock] poll_interval_max``."""
    return _configured("poll_interval_max", DEFAULT_POLL_INTERVAL_MAX)


def no_response_timeout() -> float:
    """Seconds without a response from the service after which a wait ends: ``[bedrock] no_response_timeout``."""
    default = DEFAULT_NO_RESPONSE_TIMEOUT
    timeout = _configured("no_response_timeout", default, zero=True)
    if conf.get("bedrock", "silence_limit", fallback=None) is None:
        return timeout
    old = _configured("silence_limit", default, zero=True)
    chosen: float = renamed("[bedrock] silence_limit", old, "[bedrock] no_response_timeout", timeout, default)
    return chosen


def prices() -> str:
    """Return the path of the file with the user's own prices, or nothing: ``[bedrock] prices``."""
    return _text("prices")


def environment() -> str:
    """Return the name of this Airflow deployment in its AWS account: ``[bedrock] environment``.

    Default: the address in ``[api] base_url`` without scheme, user and trailing slash, or ``airflow``.
    """
    return _text("environment") or _address(conf.get("api", "base_url", fallback="") or "") or "airflow"


def registry_uri() -> str:
    """Return the S3 prefix of the model registry: ``[bedrock] registry_uri``; empty by default."""
    return _text("registry_uri")


def live_aws_conn_id() -> str:
    """Return the connection for the views' calls of Bedrock: ``[bedrock] live_aws_conn_id``; empty for none."""
    return _text("live_aws_conn_id")


def monthly_budget() -> Decimal | None:
    """Return the monthly limit in US dollars: ``[bedrock] monthly_budget``; None, the default, for no limit."""
    return _dollars("monthly_budget", _text("monthly_budget"))


def dag_budgets() -> dict[str, Decimal]:
    """Return the monthly limits of DAGs in US dollars, by DAG id: ``[bedrock] dag_budgets``, a JSON object."""
    text = _text("dag_budgets")
    try:
        given = json.loads(text or "{}")
    except json.JSONDecodeError:
        given = text
    if not isinstance(given, dict):
        raise ValueError(f"[bedrock] dag_budgets must be a JSON object of DAG ids and US dollars; got {given!r}")
    found = {dag_id: _dollars(f"dag_budgets of {dag_id}", usd) for dag_id, usd in given.items()}
    return {dag_id: usd for dag_id, usd in found.items() if usd is not None}


def has_budget() -> bool:
    """Whether any budget is set, for all DAGs or for one."""
    return monthly_budget() is not None or bool(dag_budgets())


def ledger_uri() -> str:
    """Return the S3 prefix of the budget's ledger: ``[bedrock] ledger_uri``, or ``spend`` in the registry's prefix."""
    return _text("ledger_uri") or (f"{registry_uri().rstrip('/')}/spend" if registry_uri() else "")


def ledger_kms_key_id() -> str | None:
    """Return the KMS key of the budget's ledger: ``[bedrock] ledger_kms_key_id``; None for the bucket's."""
    return _text("ledger_kms_key_id") or None


def over_budget() -> str:
    """Return what a task does when it is over a budget, ``fail`` or ``wait``: ``[bedrock] over_budget``."""
    choice = _text("over_budget", "fail")
    if choice not in ("fail", "wait"):
        raise ValueError(f"[bedrock] over_budget must be fail or wait; got {choice!r}")
    return choice


def _text(name: str, default: str = "") -> str:
    configured: str = conf.get("bedrock", name, fallback=default)
    return configured.strip()


def _dollars(name: str, value: object) -> Decimal | None:
    try:
        return dollars(value)
    except ValueError as error:
        raise ValueError(f"[bedrock] {name} {error}; got {value!r}") from None


def dollars(value: object) -> Decimal | None:
    """Return an amount of US dollars; None if it is not set, or if a template that finds nothing rendered None.

    :raises ValueError: it is not a number, not finite, or less than 0.
    """
    if str(value).strip() in ("", "None"):
        return None
    try:
        usd = Decimal(str(value).strip())
    except InvalidOperation:
        usd = Decimal("nan")
    if isinstance(value, bool) or not usd.is_finite() or usd < 0:
        raise ValueError("must be a number of US dollars, 0 or more")
    return usd


def _address(url: str) -> str:
    """Return host, port and path of a URL. The scheme does not identify a deployment, and may change with a proxy."""
    host, _, path = url.strip().partition("://")[2].partition("/")
    return f"{host.rpartition('@')[2].lower()}/{path}".rstrip("/")


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a time, a timedelta or a number, as seconds.

    :param name: what it is called, for the error.
    :param zero: whether it may be 0.
    :raises ValueError: it is not a number, not finite, or too small.
    """
    given = value.total_seconds() if isinstance(value, timedelta) else value
    number = given if isinstance(given, (int, float)) and not isinstance(given, bool) else math.nan
    if not (0 < number < math.inf or (zero and number == 0)):
        raise ValueError(f"{name} must be a number of seconds, {'0 or ' if zero else ''}more than 0; got {value!r}")
    return float(number)


def _configured(name: str, default: float, *, zero: bool = False) -> float:
    text = _text(name, str(default))
    try:
        given: object = float(text)
    except ValueError:
        given = text
    return seconds(f"[bedrock] {name} in Airflow's configuration", given, zero=zero)
