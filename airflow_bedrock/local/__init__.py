"""Local Bedrock: an offline service that boto3, the AWS CLI and Airflow use over HTTP exactly like AWS.

::

    service.py   everything as one object           command.py   airflow-bedrock local
    elsewhere.py the same in another interpreter
    web/         HTTP: server, dispatch, AWS's protocol, admin API, journal
    api/         the operations: request in, response out
    state/       jobs, models, deployments, and how they are kept between runs
    work/        background work: jobs, deployments
    runner.py    runs the background work           clock.py     the clock that governs it
    learning/    the language model that jobs train
    faults.py    the injected faults
    catalog.py   base models as used here (base_models.toml has the facts)

An operation is a function in ``api/``; a resource is a dataclass in ``state/resources.py``; background work is a
generator in ``work/``. Nothing below ``web/`` and ``service.py`` knows HTTP. Only ``moto.py`` imports moto; ``api/``
and ``work/`` get from it what no API returns (KMS keys and shares of other accounts, roles, the code of functions).
Background work calls other AWS services with boto3 clients; the application answers these calls in the same process
(``web/inside.py``).

Importing this package loads nothing: pytest does it at each start, for ``pytest_plugin.py``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports

__all__ = ["LocalBedrock", "Quotas"]

if TYPE_CHECKING:
    from airflow_bedrock.local.service import LocalBedrock
    from airflow_bedrock.local.settings import Quotas
else:
    _WHERE = ".elsewhere" if os.environ.get("AIRFLOW_BEDROCK_LOCAL") else ".service"
    __getattr__ = lazy_exports(__name__, {"LocalBedrock": _WHERE, "Quotas": ".settings"})
