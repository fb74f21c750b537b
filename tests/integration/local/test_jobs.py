"""Customization jobs: idempotency, stopping, lists and their pages, regions."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service


def test_same_token_and_request_make_one_job(service: Service) -> None:
    """A request that comes twice with the same token gets the same job, and there is only one."""
    request = service.request(clientRequestToken=service.name("token"))
    first = service.bedrock.create_model_customization_job(**request)["jobArn"]
    assert service.bedrock.create_model_customization_job(**request)["jobArn"] == first
    listed = service.bedrock.list_model_customization_jobs(nameContains=request["jobName"])
    assert [job["jobArn"] for job in listed["modelCustomizationJobSummaries"]] == [first]
    assert service.job(first)["clientRequestToken"] == request["clientRequestToken"]


def test_same_token_with_another_request_is_a_conflict(service: Service) -> None:
    """A token cannot be used for two different requests."""
    token = service.name("token")
    service.create(clientRequestToken=token)
    with pytest.raises(ClientError, match="ConflictException"):
        service.create(clientRequestToken=token)


def test_deployments_are_idempotent_too(service: Service) -> None:
    """A deployment that is asked for twice with the same token is made once; its name is taken then."""
    model, name, token = service.model(), service.name("deployment"), service.name("token")
    arn = service.deploy(model, modelDeploymentName=name, clientRequestToken=token)
    assert service.deploy(model, modelDeploymentName=name, clientRequestToken=token) == arn
    with pytest.raises(ClientError, match="name is currently in use"):
        service.deploy(model, modelDeploymentName=name)
    listed = service.bedrock.list_custom_model_deployments(modelArnEquals=model)["modelDeploymentSummaries"]
    assert [one["customModelDeploymentArn"] for one in listed] == [arn]
    others = service.bedrock.list_custom_model_deployments(modelArnEquals=service.model())
    assert others["modelDeploymentSummaries"] == []


def test_stopped_job_leaves_no_model(service: Service) -> None:
    """A job is Stopping before it is Stopped, cannot be stopped twice, and leaves no model."""
    with LocalBedrock(job_seconds=10) as slow:
        client = slow.client("bedrock")
        try:
            arn = client.create_model_customization_job(**service.request())["jobArn"]
            while details(client, arn)["validationDetails"]["status"] == "NotStarted":
                time.sleep(0.05)
            client.stop_model_customization_job(jobIdentifier=arn)
            assert client.get_model_customization_job(jobIdentifier=arn)["status"] == "Stopping"
            while (job := client.get_model_customization_job(jobIdentifier=arn))["status"] == "Stopping":
                time.sleep(0.05)
            assert job["status"] == "Stopped"
            assert "Stopped" in [phase["status"] for phase in details(client, arn).values()]
            assert not {"outputModelArn", "trainingMetrics"} & set(job)
            assert client.list_custom_models()["modelSummaries"] == []
            with pytest.raises(ClientError, match="ConflictException"):
                client.stop_model_customization_job(jobIdentifier=arn)
        finally:
            client.close()


def details(client: Any, arn: str) -> dict[str, Any]:
    phases: dict[str, Any] = client.get_model_customization_job(jobIdentifier=arn)["statusDetails"]
    return phases


def test_pages_show_every_job_once(service: Service) -> None:
    """The paginator shows all jobs, the newest first, whatever the page size."""
    prefix = service.name("page")
    names = [f"{prefix}-{number:02}" for number in range(23)]
    for name in names:
        service.create(jobName=name)
    paginator = service.bedrock.get_paginator("list_model_customization_jobs")
    pages = list(paginator.paginate(nameContains=prefix, PaginationConfig={"PageSize": 5}))
    assert [len(page["modelCustomizationJobSummaries"]) for page in pages] == [5, 5, 5, 5, 3]
    shown = [job["jobName"] for page in pages for job in page["modelCustomizationJobSummaries"]]
    assert shown == names[::-1]


def listed(service: Service, **filters: Any) -> list[str]:
    page = service.bedrock.list_model_customization_jobs(maxResults=1000, **filters)
    return [job["jobArn"] for job in page["modelCustomizationJobSummaries"]]


def test_filters_and_order(service: Service) -> None:
    """Jobs are found by status, by time of creation and by a part of the name, in either order."""
    failed = service.create(trainingDataConfig={"s3Uri": f"s3://{service.local.bucket}/nothing"})
    completed = service.create()
    jobs = {arn: service.job(arn) for arn in (failed, completed)}
    assert failed in listed(service, statusEquals="Failed")
    assert completed not in listed(service, statusEquals="Failed")
    assert listed(service, nameContains=jobs[completed]["jobName"][2:]) == [completed]
    ascending = listed(service, sortBy="CreationTime", sortOrder="Ascending")
    assert ascending.index(failed) < ascending.index(completed)
    assert listed(service, sortBy="CreationTime", sortOrder="Descending") == ascending[::-1]
    assert listed(service, creationTimeAfter=jobs[completed]["creationTime"]) == []
    before = listed(service, creationTimeBefore=jobs[completed]["creationTime"])
    assert (failed in before, completed in before) == (True, False)
    assert listed(service, creationTimeAfter=datetime.now(UTC) - timedelta(hours=1)) == ascending[::-1]


def test_regions_are_apart(service: Service) -> None:
    """A job of one region is not known in another."""
    arn = service.create()
    elsewhere = service.local.client("bedrock", region="us-west-2")
    try:
        assert elsewhere.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            elsewhere.get_model_customization_job(jobIdentifier=arn)
    finally:
        elsewhere.close()
