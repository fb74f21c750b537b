"""Tags of every kind of resource, and the foundation models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

TAGS = [{"key": "team", "value": "a"}, {"key": "stage", "value": "test"}]


def tags(service: Service, arn: str) -> dict[str, str]:
    return {one["key"]: one["value"] for one in service.bedrock.list_tags_for_resource(resourceARN=arn)["tags"]}


def test_tags_come_with_creation(service: Service) -> None:
    """Job, model, deployment and throughput have the tags that they were created with."""
    job = service.job(service.create(jobTags=TAGS, customModelTags=TAGS[:1]))
    deployment = service.deploy(job["outputModelArn"], tags=TAGS)
    throughput = service.provision(job["outputModelArn"], tags=TAGS)
    for arn in (job["jobArn"], deployment, throughput):
        assert tags(service, arn) == {"team": "a", "stage": "test"}
    assert tags(service, job["outputModelArn"]) == {"team": "a"}


def test_tags_change(service: Service) -> None:
    """Tags are added, get new values, and are taken away."""
    arn = service.create(jobTags=TAGS)
    service.bedrock.tag_resource(resourceARN=arn, tags=[{"key": "team", "value": "b"}, {"key": "new", "value": ""}])
    assert tags(service, arn) == {"team": "b", "stage": "test", "new": ""}
    service.bedrock.untag_resource(resourceARN=arn, tagKeys=["team", "unknown"])
    assert tags(service, arn) == {"stage": "test", "new": ""}
    service.job(arn)


def test_no_more_than_50_tags(service: Service) -> None:
    """Tags that would come to more than 50 are refused, and none of them is added."""
    arn = service.create(jobTags=TAGS)
    with pytest.raises(ClientError, match="TooManyTagsException"):
        service.bedrock.tag_resource(resourceARN=arn, tags=[{"key": f"k{n}", "value": ""} for n in range(49)])
    assert len(tags(service, arn)) == 2
    service.bedrock.tag_resource(resourceARN=arn, tags=[{"key": f"k{n}", "value": ""} for n in range(48)])
    assert len(tags(service, arn)) == 50
    service.job(arn)


@pytest.mark.parametrize(
    "call",
    [
        ("list_tags_for_resource", {}),
        ("tag_resource", {"tags": TAGS}),
        ("untag_resource", {"tagKeys": ["team"]}),
    ],
)
def test_tags_of_nothing(service: Service, call: tuple[str, dict[str, Any]]) -> None:
    """What is not there has no tags."""
    name, parameters = call
    arn = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefghij12"
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        getattr(service.bedrock, name)(resourceARN=arn, **parameters)


def listed(service: Service, **filters: str) -> set[str]:
    return {one["modelId"] for one in service.bedrock.list_foundation_models(**filters)["modelSummaries"]}


def test_foundation_models_are_listed_by_what_they_can(service: Service) -> None:
    """Models are filtered by customization, provider, output and way of inference."""
    tuned = listed(service, byCustomizationType="FINE_TUNING")
    assert "amazon.nova-micro-v1:0:128k" in tuned
    assert not {"amazon.nova-micro-v1:0", "amazon.nova-premier-v1:0", "meta.llama3-1-8b-instruct-v1:0:128k"} & tuned
    assert "amazon.nova-premier-v1:0" in listed(service)
    assert listed(service, byProvider="cohere") == {
        f"cohere.command-{name}v14{version}"
        for name in ("text-", "light-text-")
        for version in ("", ":4k", ":7", ":7:4k")
    }
    assert "amazon.titan-image-generator-v2:0" in listed(service, byOutputModality="IMAGE")
    assert "amazon.nova-micro-v1:0:128k" not in listed(service, byInferenceType="ON_DEMAND")
    assert listed(service, byCustomizationType="DISTILLATION") == {
        "amazon.nova-micro-v1:0:128k",
        "amazon.nova-lite-v1:0:300k",
        "amazon.nova-pro-v1:0:300k",
    }


@pytest.mark.parametrize("prefix", ["", "arn:aws:bedrock:us-east-1::foundation-model/"])
def test_foundation_model_is_described(service: Service, prefix: str) -> None:
    """A foundation model is found by its id and by its ARN."""
    found = service.bedrock.get_foundation_model(modelIdentifier=f"{prefix}amazon.nova-lite-v1:0:300k")["modelDetails"]
    assert found["modelArn"] == "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:300k"
    assert (found["providerName"], found["modelName"]) == ("Amazon", "Nova Lite")
    assert found["customizationsSupported"] == ["FINE_TUNING", "DISTILLATION"]
    assert found["modelLifecycle"] == {"status": "ACTIVE"}


def test_unknown_foundation_model_is_not_found(service: Service) -> None:
    """An unknown model is not found."""
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        service.bedrock.get_foundation_model(modelIdentifier="nobody.nothing-v1:0")
