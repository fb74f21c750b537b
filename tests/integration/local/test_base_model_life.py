"""The life of base models: Legacy, then the end, after which Bedrock no longer has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.base_models import BaseModel
from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
ENDED = "This model version has reached the end of its life. Please refer to the AWS documentation for more details."
CANVAS = "amazon.nova-canvas-v1:0"
SETTINGS = {"start": datetime(2026, 3, 29), "clock": "manual"}
DAY = 24 * 3600.0


def test_a_base_model_becomes_legacy_and_ends(service: Service) -> None:
    """From its end on, jobs on it are refused as the service refuses what has ended, and nobody lists it."""
    request = service.request(baseModelIdentifier=CANVAS)
    clock = service.local.clock

    def life() -> dict[str, object]:
        found = service.bedrock.get_foundation_model(modelIdentifier=CANVAS)["modelDetails"]["modelLifecycle"]
        return dict(found)

    assert life() == {"status": "ACTIVE"}
    clock.advance(DAY)
    ends = datetime(2026, 9, 30, tzinfo=UTC)
    assert life() == {"status": "LEGACY", "legacyTime": datetime(2026, 3, 30, tzinfo=UTC), "endOfLifeTime": ends}
    service.bedrock.create_model_customization_job(**request)
    clock.advance(ends.timestamp() - clock.time() - 1)
    assert life()["status"] == "LEGACY"
    clock.advance(1)
    with pytest.raises(
        ClientError, match=r"ResourceNotFoundException.*This model version has reached the end of its life"
    ):
        service.bedrock.create_model_customization_job(**service.request(baseModelIdentifier=CANVAS))
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        life()
    listed = service.bedrock.list_foundation_models()["modelSummaries"]
    assert CANVAS not in {model["modelId"] for model in listed}


@pytest.mark.parametrize("start", [datetime(2026, 9, 9, 23), datetime(2026, 9, 10)])
def test_a_model_is_asked_until_its_end(start: datetime) -> None:
    """By its own id and by a profile's; Claude 3 Haiku's last day was 2026-09-09, says its model card.

    Recorded from InvokeModel: https://github.com/awsdocs/aws-doc-sdk-examples/issues/6403, and from Converse by a
    profile: https://github.com/aws-solutions-library-samples/accelerated-intelligent-document-processing-on-aws/issues/708
    """
    messages = [{"role": "user", "content": [{"text": "red"}]}]
    turns = [{"role": "user", "content": "red"}]
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": turns})
    with LocalBedrock(start=start, clock="manual") as local, ExitStack() as clients:
        runtime, bedrock = (
            clients.enter_context(closing(local.client(name))) for name in ("bedrock-runtime", "bedrock")
        )
        calls: list[Callable[[], Any]] = [
            lambda: runtime.converse(modelId=HAIKU, messages=messages),
            lambda: list(runtime.converse_stream(modelId=f"us.{HAIKU}", messages=messages)["stream"]),
            lambda: runtime.invoke_model(modelId=f"us.{HAIKU}", body=body)["body"].read(),
            lambda: runtime.count_tokens(modelId=HAIKU, input={"converse": {"messages": messages}}),
            lambda: bedrock.create_provisioned_model_throughput(
                modelId=f"{HAIKU}:200k", provisionedModelName="late", modelUnits=1
            ),
        ]
        for call in calls:
            if start.day == 9:
                call()
                continue
            with pytest.raises(ClientError) as caught:
                call()
            assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
            assert caught.value.response["Error"]["Message"] == ENDED


def test_a_custom_model_ends_with_its_base(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is deployed and asked until then."""
    job = service.create()
    service.local.clock.advance(60)
    arn = service.bedrock.get_model_customization_job(jobIdentifier=job)["outputModelArn"]
    deployment = service.deploy(arn)
    service.local.clock.advance(60)
    assert service.text(deployment, "red") != ""
    monkeypatch.setattr(BaseModel, "has_ended", lambda self, today: True)
    with pytest.raises(ClientError, match=f"ResourceNotFoundException.*{ENDED}"):
        service.ask(deployment, "red")
    with pytest.raises(ClientError, match=f"ResourceNotFoundException.*{ENDED}"):
        service.deploy(arn)
