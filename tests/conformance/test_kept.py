"""Each kind of resource is kept between runs: a new one in the state of a region has to be made here too."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.local.state.resources import Job, RegionState

if TYPE_CHECKING:
    from tests.conformance.conftest import Account


def contents(account: Account) -> dict[str, dict[str, Any]]:
    """Return all that is in the state of a region; progress is not kept."""
    return {
        name: {key: {**vars(one), "progress": None} if isinstance(one, Job) else one for key, one in members.items()}
        for name, members in ((one.name, getattr(account.state, one.name)) for one in fields(RegionState))
    }


def test_every_kind_of_resource_is_kept(account: Account, tmp_path: Path) -> None:
    """One of each kind is as it was after a restart."""
    if account.local is None:
        pytest.skip("AWS is not restarted")
    settings: dict[str, Any] = {"state": tmp_path, "job_seconds": 0.1, "deployment_seconds": 0.1}
    with LocalBedrock(**settings) as local:
        one = type(account)(local)
        made = [one.job, one.deployment, one.throughput, one.new_batch(), one.model]
        for arn in made:
            one.call("TagResource", resourceARN=arn, tags=[{"key": "team", "value": "support"}])
        one.new_copy()
        one.new_import()
        one.call("PutModelInvocationLoggingConfiguration", loggingConfig=one.logging_config())
        before = contents(one)
        one.close()
    assert [name for name, members in before.items() if not members] == []
    with LocalBedrock(**settings) as local:
        again = type(account)(local)
        assert contents(again) == before
        assert again.call("ListTagsForResource", resourceARN=made[0])["tags"] == [{"key": "team", "value": "support"}]
        again.close()
