"""Inference profiles, the availability of foundation models, and the counting of tokens."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.base_models import base_model

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

PROFILE = "us.amazon.nova-micro-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"


def in_region(service: Service, region: str) -> Any:
    return service.local.client("bedrock", region)


def listed(client: Any, **filters: Any) -> list[dict[str, Any]]:
    return [
        profile
        for page in client.get_paginator("list_inference_profiles").paginate(**filters)
        for profile in page["inferenceProfileSummaries"]
    ]


def refused(call: Any, **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def test_a_profile_by_its_id_and_by_its_arn(service: Service) -> None:
    """Both say where requests go, as AWS publishes it; a region where it cannot be called does not have it."""
    found = service.bedrock.get_inference_profile(inferenceProfileIdentifier=PROFILE)
    arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{PROFILE}"
    assert (found["inferenceProfileName"], found["inferenceProfileArn"]) == ("US Nova Micro", arn)
    assert (found["type"], found["status"]) == ("SYSTEM_DEFINED", "ACTIVE")
    regions = [model["modelArn"].split(":")[3] for model in found["models"]]
    assert regions == ["us-east-1", "us-east-2", "us-west-2"]
    again = service.bedrock.get_inference_profile(inferenceProfileIdentifier=arn)
    assert again["inferenceProfileId"] == found["inferenceProfileId"] == PROFILE
    europe = in_region(service, "eu-west-1")
    answer = refused(europe.get_inference_profile, inferenceProfileIdentifier=PROFILE)
    assert answer[:2] == (404, "ResourceNotFoundException")


def test_regions_have_a_source() -> None:
    """Each group of profiles says where its regions come from, as the docs promise."""
    groups = tomllib.loads((files("airflow_bedrock.local") / "inference_profiles.toml").read_text())["profiles"]
    assert {group["regions"] for group in groups} == {"recorded", "guide", "reported", "assumed"}


@pytest.mark.parametrize(
    ("region", "geographies", "profile", "name", "regions"),
    [
        ("eu-south-1", {"eu", "global"}, "eu.amazon.nova-lite-v1:0", "EU Nova Lite", 5),
        ("ap-northeast-1", {"apac", "jp", "global"}, "apac.amazon.nova-micro-v1:0", "APAC Nova Micro", 6),
        ("ca-central-1", {"ca", "us", "global"}, "ca.amazon.nova-lite-v1:0", "CA Nova Lite", 2),
        ("us-east-1", {"us", "global"}, "global.amazon.nova-2-lite-v1:0", "GLOBAL Amazon Nova 2 Lite", 1),
        ("sa-east-1", set(), None, None, None),
    ],
)
def test_each_geography_has_its_own(
    service: Service, region: str, geographies: set[str], profile: str | None, name: str, regions: int
) -> None:
    """A region lists what can be called in it, and answers by it; so AWS listed them in Tokyo and in Canada.

    https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
    """
    client = in_region(service, region)
    assert {one["inferenceProfileId"].partition(".")[0] for one in listed(client)} == geographies
    if profile is None:
        return
    found = client.get_inference_profile(inferenceProfileIdentifier=profile)
    assert (found["inferenceProfileName"], len(found["models"])) == (name, regions)
    runtime = service.local.client("bedrock-runtime", region)
    asked = [{"role": "user", "content": [{"text": "red"}]}]
    assert runtime.converse(modelId=profile, messages=asked)["output"]["message"]["content"] == [{"text": "red"}]


def test_where_a_request_goes_depends_on_where_it_comes_from(service: Service) -> None:
    """Llama 3.2 stays in two regions, or goes to them from a third."""
    for region, expected in (("us-west-2", 2), ("us-east-2", 3)):
        found = in_region(service, region).get_inference_profile(
            inferenceProfileIdentifier="us.meta.llama3-2-1b-instruct-v1:0"
        )
        assert len(found["models"]) == expected


def test_profiles_are_listed_page_by_page(service: Service) -> None:
    """Each is listed once whatever the page; none is an application's; all are of models that are known."""
    names = [profile["inferenceProfileId"] for profile in listed(service.bedrock)]
    assert PROFILE in names
    assert len(set(names)) == len(names) > 5
    assert all(base_model(name) for name in names)
    assert [one["inferenceProfileId"] for one in listed(service.bedrock, PaginationConfig={"PageSize": 2})] == names
    assert listed(service.bedrock, typeEquals="SYSTEM_DEFINED") != []
    assert listed(service.bedrock, typeEquals="APPLICATION") == []


def test_a_profile_answers(service: Service) -> None:
    """Its id and its ARN can be asked as the model's own id."""
    arn = service.bedrock.get_inference_profile(inferenceProfileIdentifier=PROFILE)["inferenceProfileArn"]
    answers = {service.text(model_id, "red or blue") for model_id in (PROFILE, arn, "amazon.nova-micro-v1:0")}
    assert len(answers) == 1


def test_availability_of_a_model(service: Service) -> None:
    """A model is available where it is customized or a profile leads, and in no other region."""
    model_id = "amazon.nova-micro-v1:0"
    found = service.bedrock.get_foundation_model_availability(modelId=model_id)
    found.pop("ResponseMetadata")
    assert found == {
        "modelId": model_id,
        "agreementAvailability": {"status": "AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": "AVAILABLE",
        "regionAvailability": "AVAILABLE",
    }
    elsewhere = in_region(service, "sa-east-1").get_foundation_model_availability(modelId=model_id)
    assert elsewhere["regionAvailability"] == "NOT_AVAILABLE"
    answer = refused(service.bedrock.get_foundation_model_availability, modelId="amazon.nothing-v1:0")
    assert answer[:2] == (404, "ResourceNotFoundException")


def test_tokens_are_counted_as_the_answer_counts_them(service: Service) -> None:
    """Converse and InvokeModel requests have as many tokens as their answers say."""
    messages = [{"role": "user", "content": [{"text": "How many tokens has this question?"}]}]
    system = [{"text": "Be brief."}]
    used = service.runtime.converse(modelId=CLAUDE, messages=messages, system=system)["usage"]["inputTokens"]
    conversation = {"converse": {"messages": messages, "system": system}}
    assert service.runtime.count_tokens(modelId=CLAUDE, input=conversation)["inputTokens"] == used
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "system": "Be brief.", "messages": messages}
    body["messages"] = [{"role": "user", "content": "How many tokens has this question?"}]
    invocation = {"invokeModel": {"body": json.dumps(body)}}
    assert service.runtime.count_tokens(modelId=CLAUDE, input=invocation)["inputTokens"] == used > 5


@pytest.mark.parametrize("model_id", [PROFILE, "amazon.nova-micro-v1:0", f"us.{CLAUDE}"])
def test_tokens_of_other_models_are_not_counted(service: Service, model_id: str) -> None:
    """AWS counts for Claude by its plain id alone."""
    conversation = {"converse": {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}}
    answer = refused(service.runtime.count_tokens, modelId=model_id, input=conversation)
    assert answer == (400, "ValidationException", "The provided model doesn't support counting tokens.")


def test_an_invalid_body_is_refused(service: Service) -> None:
    """What InvokeModel refuses cannot be counted."""
    answer = refused(service.runtime.count_tokens, modelId=CLAUDE, input={"invokeModel": {"body": b"{"}})
    assert answer[:2] == (400, "ValidationException")
