"""Share a custom model with another account of the organization through AWS RAM, so that it can be copied there.

https://docs.aws.amazon.com/bedrock/latest/userguide/share-model.html
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError, kind_of
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.account import client_of

log = logging.getLogger(__name__)

_POLLS = 30
_PAUSE = 2.0  # seconds between two checks


def share(hook: BedrockHook, name: str, model_arn: str, account: str) -> None:
    """Share a model with an account, once under this name; return when the account can use it.

    :param hook: a hook for the account and region of the model.
    :raises BedrockFatalError: AWS RAM refused to share it.
    :raises BedrockError: it was not shared in time, or a transient error occurred.
    """
    what = f"Sharing model {model_arn} with account {account} (AWS RAM, resource share {name})"
    with _ram(hook, what) as ram:
        shared = _share_arn(ram, name)
        if shared and all(one["associatedEntity"] != model_arn for one in _associations(ram, shared, "RESOURCE")):
            ram.delete_resource_share(resourceShareArn=shared)  # of another model, which this task was to copy earlier
            shared = None
        if shared is None:
            made = ram.create_resource_share(
                name=name,
                resourceArns=[model_arn],
                principals=[account],
                allowExternalPrincipals=False,
            )
            shared = made["resourceShare"]["resourceShareArn"]
            log.info("Shared model %s with account %s: %s", model_arn, account, shared)
        for _ in range(_POLLS):
            found = [one for kind in ("PRINCIPAL", "RESOURCE") for one in _associations(ram, shared, kind)]
            if any(one["status"] == "FAILED" for one in found):
                raise BedrockFatalError(
                    f"{what} failed: {'; '.join(one.get('statusMessage', 'no reason was given') for one in found)}. "
                    "No copy was made. Both accounts must be in one organization that allows sharing."
                )
            if found and all(one["status"] == "ASSOCIATED" for one in found):
                return
            time.sleep(_PAUSE)
    raise BedrockError(f"{what} takes longer than {_POLLS * _PAUSE:.0f} s. No copy was made; a retry continues.")


def unshare(hook: BedrockHook, name: str) -> None:
    """Delete the resource share of this name, if it exists; errors are only logged."""
    try:
        with _ram(hook, f"Deleting the resource share {name}") as ram:
            if (shared := _share_arn(ram, name)) is not None:
                ram.delete_resource_share(resourceShareArn=shared)
                log.info("The model is no longer shared: deleted %s", shared)
    except BedrockError as error:
        log.warning("%s The model is still shared; delete the resource share in AWS RAM.", error)


@contextmanager
def _ram(hook: BedrockHook, what: str) -> Iterator[Any]:
    with closing(client_of(hook, "ram")) as client:
        try:
            yield client
        except CALL_ERRORS as error:
            raise kind_of(error)(
                f"{what} failed. No copy was made, and nothing was spent. AWS said: {error}"
            ) from error


def _share_arn(ram: Any, name: str) -> str | None:
    pages = ram.get_paginator("get_resource_shares").paginate(resourceOwner="SELF", name=name)
    found = (one for page in pages for one in page["resourceShares"])
    alive = (one for one in found if (one["name"], one["status"]) == (name, "ACTIVE"))
    return next((one["resourceShareArn"] for one in alive), None)


def _associations(ram: Any, share_arn: str, kind: str) -> list[dict[str, Any]]:
    pages = ram.get_paginator("get_resource_share_associations").paginate(
        associationType=kind, resourceShareArns=[share_arn]
    )
    return [one for page in pages for one in page["resourceShareAssociations"]]
