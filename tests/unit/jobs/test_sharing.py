"""A model is shared when AWS RAM says so, and a share that cannot be used ends in an error that says what was made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs import sharing
from tests.paid_jobs import error

MODEL, OTHER = "arn:aws:bedrock:us-east-1:123456789012:custom-model/nova/abcdefghijkl", "210987654321"
NAME = "share"


class Ram:
    """AWS RAM, where an association has one status after the other; the last one lasts."""

    def __init__(self, *statuses: str, there: str = "", model: str = MODEL) -> None:
        self.statuses, self.status, self.model, self.made, self.deleted = list(statuses), "ASSOCIATED", model, 0, 0
        self.shares = [{"name": NAME, "status": there, "resourceShareArn": "arn:old"}] if there else []

    def create_resource_share(self, **asked: Any) -> dict[str, Any]:
        assert asked == {
            "name": NAME,
            "resourceArns": [MODEL],
            "principals": [OTHER],
            "allowExternalPrincipals": False,
        }
        self.made, self.model = self.made + 1, MODEL
        return {"resourceShare": {"resourceShareArn": "arn:new"}}

    def delete_resource_share(self, resourceShareArn: str) -> None:
        self.deleted += 1
        if not self.statuses:
            raise error("OperationNotPermittedException", "Not now.")

    def get_paginator(self, operation: str) -> Any:
        def paginate(**asked: Any) -> list[dict[str, Any]]:
            if operation == "get_resource_shares":
                return [{"resourceShares": self.shares}]
            if asked["associationType"] == "PRINCIPAL":
                self.status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            found = {"status": self.status, "statusMessage": "no organization", "associatedEntity": self.model}
            return [{"resourceShareAssociations": [found] if self.status else []}]

        return SimpleNamespace(paginate=paginate)

    def close(self) -> None:
        """It has nothing to close."""


@pytest.fixture
def lead_to(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> Any:
    return lambda ram: monkeypatch.setattr(sharing, "client_of", lambda hook, service: ram)


def share() -> None:
    sharing.share(cast("Any", None), NAME, MODEL, OTHER)


@pytest.mark.parametrize(
    ("there", "model", "made", "deleted"),
    [("", MODEL, 1, 0), ("ACTIVE", MODEL, 0, 0), ("DELETED", MODEL, 1, 0), ("ACTIVE", "arn:other", 1, 1)],
    ids=["none", "of an earlier try", "deleted", "of another model"],
)
def test_it_is_shared_once_and_waited_for(
    lead_to: Any, slept: list[float], there: str, model: str, made: int, deleted: int
) -> None:
    """A copy that began before would be refused."""
    ram = Ram("", "ASSOCIATING", "ASSOCIATED", there=there, model=model)
    lead_to(ram)
    share()
    assert (ram.made, ram.deleted, slept) == (made, deleted, [2.0, 2.0])


def test_a_share_that_takes_too_long_is_left_to_the_next_try(lead_to: Any, slept: list[float]) -> None:
    """A minute, and nothing is billed."""
    lead_to(Ram("ASSOCIATING"))
    with pytest.raises(BedrockError, match=r"takes longer than 60 s\. No copy was made; a retry") as failed:
        share()
    assert not isinstance(failed.value, BedrockFatalError)
    assert sum(slept) == 60


def test_a_share_that_fails_says_why(lead_to: Any) -> None:
    """No retry helps if the two accounts do not belong to one organization."""
    lead_to(Ram("ASSOCIATING", "FAILED"))
    with pytest.raises(BedrockFatalError, match=r"failed: no organization; no organization\. No copy was made"):
        share()


def test_a_share_that_cannot_be_deleted_fails_no_copy(lead_to: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The copy is made and paid for; the log says what is left to do."""
    ram = Ram(there="ACTIVE")
    lead_to(ram)
    sharing.unshare(cast("Any", None), NAME)
    assert ram.deleted == 1
    assert "The model is still shared; delete the resource share in AWS RAM." in caplog.text
    sharing.unshare(cast("Any", None), "of another name")
    assert ram.deleted == 1
