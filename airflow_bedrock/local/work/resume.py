"""After a restart: work that was under way goes on where it stood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.batch_inference import infer
from airflow_bedrock.local.work.copying import copy
from airflow_bedrock.local.work.customization import customize
from airflow_bedrock.local.work.importing import import_model, register
from airflow_bedrock.local.work.serving import provision, serve

_WORK: dict[str, Callable[[Bedrock, Any], Work]] = {
    "jobs": customize,
    "deployments": serve,
    "throughputs": provision,
    "models": register,
    "imports": import_model,
    "copies": copy,
    "invocations": infer,
}
"""What goes on with each kind of resource on the shelf that is active."""


def resume(bedrock: Bedrock, started: Mapping[str, float]) -> None:
    """Hand the runner all work that had not ended.

    :param started: when each piece of work was started, by its key, on the present clock.
    """
    for kind, work in _WORK.items():
        for resource in getattr(bedrock, kind).values():
            if resource.active:
                bedrock.world.runner.add(resource.arn, work(bedrock, resource), started.get(resource.arn))
