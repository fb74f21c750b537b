"""Tags for cost allocation: they say which task a job and a model come from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from airflow_bedrock.customization.identity import TaskKey

# CreateModelCustomizationJob allows 50 (TooManyTagsException); the rest say which tasks requested it and wait.
MAX_USER_TAGS = 40
_MAX_VALUE = 256
_ENVIRONMENT = "airflow-bedrock/environment"
_DAG = "airflow/dag_id"
_MADE_WITH = "airflow-bedrock/token"
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9\s._:/=+@-]")


def automatic_tags(task_key: TaskKey, version: str) -> dict[str, str]:
    """Return the tags by key: the task that requested the job, and the version of this package.

    :param version: of this package.
    """
    tags = {
        _ENVIRONMENT: _environment(task_key.environment),
        _DAG: task_key.dag_id,
        "airflow/run_id": task_key.run_id,
        "airflow/task_id": task_key.task_id,
        "airflow/map_index": str(task_key.map_index),
        "airflow-bedrock/version": version,
    }
    return {key: tag_value(value) for key, value in tags.items()}


def is_of(tags: Mapping[str, str], environment: str) -> bool:
    """Whether this deployment of Airflow requested the job with these tags."""
    return tags.get(_ENVIRONMENT) == _environment(environment)


def is_of_dag(tags: Mapping[str, str], environment: str, dag_id: str) -> bool:
    """Whether this DAG of this deployment of Airflow requested the resource with these tags."""
    return is_of(tags, environment) and tags.get(_DAG) == tag_value(dag_id)


def token_tag(token: str) -> dict[str, str]:
    """Return the tag for the clientRequestToken of a resource whose Get does not show it."""
    return {"key": _MADE_WITH, "value": token}


def token_in(tags: Mapping[str, str]) -> str | None:
    """Return the clientRequestToken in these tags."""
    return tags.get(_MADE_WITH)


def _environment(name: str) -> str:
    """Return an environment's name in the characters of a tag; different names stay different."""
    if tag_value(name) == name:
        return name
    return f"{tag_value(name)[:200]}.{hashlib.blake2b(name.encode(), digest_size=10).hexdigest()}"


def tag_value(text: str) -> str:
    """Return a text in the characters that a tag's value allows."""
    return _NOT_ALLOWED.sub("_", text)[:_MAX_VALUE]


def check_count(given: Sequence[object]) -> None:
    """Check that the user's tags leave enough for the automatic ones.

    :raises ValueError: there are too many.
    """
    if len(given) > MAX_USER_TAGS:
        raise ValueError(f"{len(given)} tags are too many: set at most {MAX_USER_TAGS}, since the service allows 50")


def with_tags(given: Sequence[Mapping[str, str]], automatic: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Return the user's tags and the automatic ones; the user's take precedence.

    :raises ValueError: the user gave too many.
    """
    check_count(given)
    keys = {tag["key"] for tag in given}
    return [*given, *({"key": key, "value": value} for key, value in automatic.items() if key not in keys)]
