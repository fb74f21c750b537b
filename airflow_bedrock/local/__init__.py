"""Local Bedrock: an offline service that boto3, the AWS CLI and Airflow use over HTTP exactly like AWS.

::

    service.py   the whole of it as one object      command.py   airflow-bedrock local
    elsewhere.py the same, run by another interpreter
    web/         HTTP: server, dispatch, AWS's protocol, admin API, journal
    api/         the operations: request in, response out
    state/       jobs, models, deployments, and how they are kept between runs
    work/        what goes on by itself: jobs, deployments, the runner that moves them on
    learning/    the language model that jobs train
    faults.py    what goes wrong on demand          clock.py     the time it all lives by
    catalog.py   base models as they are used here (base_models.toml has the facts)

An operation is a function in ``api/``; a resource is a dataclass in ``state/resources.py``; what takes time is a
generator in ``work/``. Nothing below ``web/`` and ``service.py`` knows of HTTP. ``moto.py`` alone imports moto; from it
``api/`` and ``work/`` have what no API gives away (KMS keys and shares of other accounts, roles, functions' code).
Work asks other AWS services by boto3 clients whose calls the application answers in the same process
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
