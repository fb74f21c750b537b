"""The life of base models: Legacy, then the end, after which Bedrock no longer has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

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
