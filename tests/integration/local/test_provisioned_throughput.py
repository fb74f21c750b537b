"""Provisioned throughput over HTTP: its life, its commitment, its hours."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock, Quotas

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

SETTINGS = {"deployment_seconds": 1}  # long enough to be seen


def get(service: Service, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = service.bedrock.get_provisioned_model_throughput(provisionedModelId=arn)
    return found


def refused(call: Any, **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_life(service: Service) -> None:
    """Throughput is created, answers, gets another name and model, and is deleted; its model cannot go before."""
    first, second = service.model(), service.model()
    name = service.name("throughput")
    arn = service.provision(first, provisionedModelName=name, tags=[{"key": "team", "value": "a"}])
    found = get(service, arn)
    assert (found["status"], found["modelArn"], found["modelUnits"]) == ("InService", first, 1)
    assert found["foundationModelArn"].endswith(":foundation-model/amazon.nova-micro-v1:0:128k")
    question, answer = service.questions(1)[0]
    assert service.text(arn, question) == answer
    assert refused(service.bedrock.delete_custom_model, modelIdentifier=first) == (400, "ConflictException")
    service.bedrock.update_provisioned_model_throughput(
        provisionedModelId=name, desiredProvisionedModelName=f"{name}-2", desiredModelId=second
    )
    found = get(service, f"{name}-2")
    assert (found["status"], found["modelArn"], found["desiredModelArn"]) == ("Updating", first, second)
    assert refused(service.bedrock.delete_provisioned_model_throughput, provisionedModelId=arn)[1] == (
        "ConflictException"
    )
    while get(service, arn)["status"] == "Updating":
        pass
    assert get(service, arn)["modelArn"] == second
    listed = service.bedrock.list_provisioned_model_throughputs(nameContains=name)["provisionedModelSummaries"]
    assert [one["provisionedModelArn"] for one in listed] == [arn]
    service.bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
    assert refused(service.bedrock.get_provisioned_model_throughput, provisionedModelId=arn)[0] == 404


def test_a_taken_name_is_refused(service: Service) -> None:
    """At its creation and when it is renamed; its own name it may keep. Lists can be asked for one model's."""
    model = "amazon.nova-micro-v1:0:128k"
    one, other = service.name("throughput"), service.name("throughput")
    service.provision(model, provisionedModelName=one)
    arn = service.provision(service.model(), provisionedModelName=other)
    taken = (400, "ValidationException")
    create = service.bedrock.create_provisioned_model_throughput
    update = service.bedrock.update_provisioned_model_throughput
    assert refused(create, provisionedModelName=one, modelUnits=1, modelId=model) == taken
    assert refused(update, provisionedModelId=arn, desiredProvisionedModelName=one) == taken
    update(provisionedModelId=arn, desiredProvisionedModelName=other)
    found = get(service, arn)
    assert found["provisionedModelName"] == other
    listed = service.bedrock.list_provisioned_model_throughputs(modelArnEquals=found["modelArn"])
    assert [each["provisionedModelArn"] for each in listed["provisionedModelSummaries"]] == [arn]


@pytest.mark.parametrize(
    ("model", "status"),
    [("nobody", 404), ("arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0/abcdefghij12", 404)],
)
def test_model_has_to_be_there(service: Service, model: str, status: int) -> None:
    """Throughput is only provided for a model that exists."""
    create = service.bedrock.create_provisioned_model_throughput
    assert refused(create, provisionedModelName="t", modelUnits=1, modelId=model) == (
        status,
        "ResourceNotFoundException",
    )


def test_another_base_model_cannot_take_over(service: Service) -> None:
    """Throughput of a base model takes only models of that base model."""
    arn = service.provision("amazon.nova-micro-v1:0:128k")
    update = service.bedrock.update_provisioned_model_throughput
    answer = refused(update, provisionedModelId=arn, desiredModelId="amazon.nova-lite-v1:0:300k")
    assert answer == (400, "ValidationException")


def test_commitment_forbids_deletion_and_hours_count() -> None:
    """Before its commitment ends throughput cannot be deleted; afterwards it can, and its hours are known."""
    with LocalBedrock(clock="manual", deployment_seconds=60) as local:
        bedrock = local.client("bedrock")
        create = bedrock.create_provisioned_model_throughput
        request = {"modelUnits": 1, "modelId": "amazon.nova-micro-v1:0:128k"}
        bound = create(provisionedModelName="bound", commitmentDuration="OneMonth", **request)["provisionedModelArn"]
        free = create(provisionedModelName="free", **request)["provisionedModelArn"]
        local.clock.advance(3600)
        delete = bedrock.delete_provisioned_model_throughput
        assert refused(delete, provisionedModelId=bound) == (400, "ConflictException")
        delete(provisionedModelId=free)
        local.clock.advance(30 * 24 * 3600)
        delete(provisionedModelId=bound)
        bedrock.close()
        with urllib.request.urlopen(f"{local.endpoint_url}/_local/throughput") as answer:  # noqa: S310  # it is ours
            meters = json.load(answer)
        assert {(one["name"], one["modelUnits"], one["hours"]) for one in meters} == {("bound", 1, 721), ("free", 1, 1)}


def test_quota_of_model_units() -> None:
    """Without a commitment only so many model units can be had."""
    with LocalBedrock(quotas=Quotas(model_units=1)) as local:
        bedrock = local.client("bedrock")
        create = bedrock.create_provisioned_model_throughput
        request = {"modelUnits": 1, "modelId": "amazon.nova-micro-v1:0:128k"}
        create(provisionedModelName="one", **request)
        assert refused(create, provisionedModelName="two", **request) == (400, "ServiceQuotaExceededException")
        create(provisionedModelName="three", commitmentDuration="SixMonths", **request)
        bedrock.close()
