"""Model copy jobs: a model goes from region to region, with all that it has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock, Quotas
from tests.integration.local.conftest import check_answer, wait

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

TAGS = [{"key": "team", "value": "support"}]


@pytest.fixture(scope="module")
def model(service: Service) -> str:
    """A model in us-east-1."""
    return service.model()


@pytest.fixture(scope="module")
def west(service: Service) -> Any:
    return client(service.local, "us-west-2")


def client(local: LocalBedrock, region: str) -> Any:
    made = local.client("bedrock", region)
    made.meta.events.register("after-call", check_answer)
    return made


def ended(bedrock: Any, arn: str) -> dict[str, Any]:
    return wait(lambda: dict(bedrock.get_model_copy_job(jobArn=arn)), "InProgress")


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_copy_answers_in_its_region(service: Service, west: Any, model: str) -> None:
    """The copy is found there by name, with its tags, can be deployed, and answers as it was trained."""
    name = service.name("copy")
    request = {"sourceModelArn": model, "targetModelName": name, "targetModelTags": TAGS}
    arn = west.create_model_copy_job(**request)["jobArn"]
    begun = west.get_model_copy_job(jobArn=arn)
    assert (begun["status"], begun["sourceAccountId"], begun["targetModelTags"]) == ("InProgress", "123456789012", TAGS)
    assert refused(west.get_custom_model, modelIdentifier=name)[0] == "ResourceNotFoundException"
    job = ended(west, arn)
    assert job["status"] == "Completed", job
    assert job["targetModelArn"].startswith(
        "arn:aws:bedrock:us-west-2:123456789012:custom-model/amazon.nova-micro-v1:0"
    )
    copied = west.get_custom_model(modelIdentifier=name)
    assert (copied["modelArn"], copied["modelStatus"]) == (job["targetModelArn"], "Active")
    assert copied["baseModelArn"] == "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-micro-v1:0:128k"
    assert "jobArn" not in copied
    assert west.list_tags_for_resource(resourceARN=job["targetModelArn"])["tags"] == TAGS
    runtime = service.local.client("bedrock-runtime", "us-west-2")
    deployment = west.create_custom_model_deployment(modelDeploymentName=name, modelArn=job["targetModelArn"])
    deployed = deployment["customModelDeploymentArn"]
    wait(lambda: dict(west.get_custom_model_deployment(customModelDeploymentIdentifier=deployed)), "Creating")
    right = 0
    for question, answer in service.questions(12):
        asked = runtime.converse(modelId=deployed, messages=[{"role": "user", "content": [{"text": question}]}])
        right += asked["output"]["message"]["content"][0]["text"] == answer
    assert right == 12


def test_the_source_may_go_afterwards(service: Service, west: Any) -> None:
    """A copy stays when its source is deleted; a copy that is under way then fails."""
    source = service.model()
    first = west.create_model_copy_job(sourceModelArn=source, targetModelName=service.name("copy"))["jobArn"]
    copied = ended(west, first)["targetModelArn"]
    second = west.create_model_copy_job(sourceModelArn=source, targetModelName=service.name("copy"))["jobArn"]
    service.bedrock.delete_custom_model(modelIdentifier=source)
    failed = ended(west, second)
    assert (failed["status"], "was deleted" in failed["failureMessage"]) == ("Failed", True)
    assert refused(west.get_custom_model, modelIdentifier=failed["targetModelArn"])[0] == "ResourceNotFoundException"
    assert west.get_custom_model(modelIdentifier=copied)["modelStatus"] == "Active"


def test_names_are_used_once(service: Service, west: Any, model: str) -> None:
    """Neither a model's name nor that of a copy under way is free; the source's own name is, elsewhere."""
    name = service.bedrock.get_custom_model(modelIdentifier=model)["modelName"]
    first = west.create_model_copy_job(sourceModelArn=model, targetModelName=name)["jobArn"]
    for _ in range(2):
        again = refused(west.create_model_copy_job, sourceModelArn=model, targetModelName=name)
        assert again == ("ValidationException", "The provided model name is currently in use.")
        ended(west, first)


@pytest.mark.parametrize(
    "source",
    [
        "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghij12",
        "arn:aws:bedrock:us-east-1:210987654321:custom-model/amazon.nova-micro-v1:0:128k/abcdefghij12",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0",
    ],
)
def test_only_a_custom_model_that_is_there_is_copied(west: Any, source: str) -> None:
    """No other model is found, be it in another account or a foundation model."""
    answer = refused(west.create_model_copy_job, sourceModelArn=source, targetModelName="nothing")
    assert answer[0] == "ResourceNotFoundException"


def test_a_model_is_not_copied_to_where_it_is(service: Service, model: str) -> None:
    """A copy is asked for in the region that it goes to."""
    answer = refused(service.bedrock.create_model_copy_job, sourceModelArn=model, targetModelName="nothing")
    assert answer[0] == "ValidationException"


def test_one_copy_for_one_token(service: Service, west: Any, model: str) -> None:
    """The same request again gets the same job; another one with its token is refused."""
    request = {
        "sourceModelArn": model,
        "targetModelName": service.name("copy"),
        "clientRequestToken": service.name("t"),
    }
    first, second = (west.create_model_copy_job(**request)["jobArn"] for _ in range(2))
    assert first == second
    changed = request | {"targetModelName": service.name("copy")}
    assert refused(west.create_model_copy_job, **changed)[0] == "ConflictException"


def test_lists_are_filtered(service: Service, west: Any) -> None:
    """By part of the name, source, account, status and time; in pages, in either order."""
    source, prefix = service.model(), service.name("listed")
    arns = [
        west.create_model_copy_job(sourceModelArn=source, targetModelName=f"{prefix}-{number}")["jobArn"]
        for number in range(3)
    ]

    def listed(**filters: Any) -> list[str]:
        pages = west.get_paginator("list_model_copy_jobs").paginate(**filters)
        return [one["jobArn"] for page in pages for one in page["modelCopyJobSummaries"]]

    assert listed(targetModelNameContains=prefix) == arns[::-1]
    assert listed(sourceModelArnEquals=source, sortOrder="Ascending", PaginationConfig={"PageSize": 2}) == arns
    assert listed(targetModelNameContains=prefix, sourceAccountEquals="210987654321") == []
    for arn in arns:
        ended(west, arn)
    assert listed(targetModelNameContains=prefix, statusEquals="InProgress") == []
    assert listed(targetModelNameContains=prefix, creationTimeAfter="2020-01-01T00:00:00Z") == arns[::-1]
    assert listed(targetModelNameContains=prefix, creationTimeBefore="2020-01-01T00:00:00Z") == []


def test_copies_count_as_custom_models(service: Service) -> None:
    """A copy under way takes the last place that the quota leaves."""
    with LocalBedrock(clock="manual", quotas=Quotas(custom_models=1)) as local:
        one = type(service)(local)
        model = train(one)
        west = client(local, "us-west-2")
        west.create_model_copy_job(sourceModelArn=model, targetModelName="one")
        code, _ = refused(west.create_model_copy_job, sourceModelArn=model, targetModelName="two")
        assert code == "ServiceQuotaExceededException"
        one.close()


def test_a_copy_goes_on_after_a_restart(service: Service, tmp_path: Path) -> None:
    """Stopped half-way, it ends after as long again, and the copy has its weights in the run after that."""
    settings: dict[str, Any] = {"clock": "manual", "job_seconds": 100, "state": tmp_path}
    with LocalBedrock(**settings) as local:
        one = type(service)(local)
        model = train(one)
        arn = client(local, "us-west-2").create_model_copy_job(sourceModelArn=model, targetModelName="c")["jobArn"]
        local.clock.advance(50)
        one.close()
    for after, status in ((49, "InProgress"), (2, "Completed")):
        with LocalBedrock(**settings) as local:
            local.clock.advance(after)
            job = client(local, "us-west-2").get_model_copy_job(jobArn=arn)
            assert job["status"] == status
    with LocalBedrock(**settings) as local:
        west = client(local, "us-west-2")
        deployed = west.create_custom_model_deployment(modelDeploymentName="d", modelArn=job["targetModelArn"])
        local.clock.advance(1)
        question, answer = service.questions(1)[0]
        asked = local.client("bedrock-runtime", "us-west-2").converse(
            modelId=deployed["customModelDeploymentArn"],
            messages=[{"role": "user", "content": [{"text": question}]}],
        )
        assert asked["output"]["message"]["content"][0]["text"] == answer


def train(service: Service) -> str:
    """Train a model by a manual clock."""
    arn = service.create()
    service.local.clock.advance(100)
    job = service.bedrock.get_model_customization_job(jobIdentifier=arn)
    assert job["status"] == "Completed", job
    model: str = job["outputModelArn"]
    return model
