"""Quotas and the queue: jobs that are scheduled, jobs that train at once, models and deployments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock, Quotas

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

Start = Callable[[Quotas], "Service"]


@pytest.fixture
def start(service: Service) -> Iterator[Start]:
    """Starts a Local Bedrock with a manual clock, 100-second jobs, and the given quotas."""
    opened: list[Any] = []

    def begin(quotas: Quotas) -> Service:
        local = LocalBedrock(clock="manual", job_seconds=100, deployment_seconds=50, quotas=quotas).start()
        opened.append(type(service)(local))
        found: Service = opened[-1]
        return found

    yield begin
    for one in opened:
        one.close()
        one.local.stop()


def refused(call: Any, *arguments: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*arguments, **parameters)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["Error"]["Code"] == "ServiceQuotaExceededException"
    message: str = response["Error"]["Message"]
    return message


def training(service: Service, arn: str) -> str:
    job = service.bedrock.get_model_customization_job(jobIdentifier=arn)
    status: str = job["statusDetails"]["trainingDetails"]["status"]
    return status


def test_ten_jobs_may_be_scheduled(start: Start) -> None:
    """The eleventh job is refused until one has ended; the refused one's name stays free."""
    service = start(Quotas())
    arns = [service.create() for _ in range(10)]
    request = service.request()
    message = refused(service.bedrock.create_model_customization_job, **request)
    assert "quota of 10 scheduled model customization jobs" in message
    service.bedrock.stop_model_customization_job(jobIdentifier=arns[0])
    service.local.clock.advance(11)
    service.bedrock.create_model_customization_job(**request)


def test_jobs_train_two_at_a_time_in_order(start: Start) -> None:
    """Jobs wait for a place to train; the first one created goes first, and a stop frees its place."""
    service = start(Quotas(training_jobs=2))
    arns = [service.create() for _ in range(5)]
    service.local.clock.advance(40)
    assert [training(service, arn) for arn in arns] == ["InProgress"] * 2 + ["NotStarted"] * 3
    service.local.clock.advance(61)
    assert [training(service, arn) for arn in arns] == ["Completed"] * 2 + ["InProgress"] * 2 + ["NotStarted"]
    service.bedrock.stop_model_customization_job(jobIdentifier=arns[2])
    service.local.clock.advance(11)
    assert [training(service, arn) for arn in arns[2:]] == ["Stopped", "InProgress", "InProgress"]
    service.local.clock.advance(200)
    jobs = [service.bedrock.get_model_customization_job(jobIdentifier=arn) for arn in arns]
    assert [job["status"] for job in jobs] == ["Completed", "Completed", "Stopped", "Completed", "Completed"]
    assert (jobs[4]["endTime"] - jobs[4]["creationTime"]).total_seconds() == pytest.approx(182, abs=3)


def test_waiting_job_can_be_stopped(start: Start) -> None:
    """A job that waits for its place is stopped without having trained."""
    service = start(Quotas(training_jobs=1))
    _, waiting = service.create(), service.create()
    service.local.clock.advance(40)
    service.bedrock.stop_model_customization_job(jobIdentifier=waiting)
    service.local.clock.advance(11)
    job = service.bedrock.get_model_customization_job(jobIdentifier=waiting)
    assert (job["status"], training(service, waiting)) == ("Stopped", "NotStarted")


def test_number_of_models(start: Start) -> None:
    """A job whose model would be one too many is refused; jobs under way count."""
    service = start(Quotas(custom_models=1))
    service.create()
    assert "quota of 1 custom models" in refused(service.create)


def test_deployments_in_progress_and_in_all(start: Start) -> None:
    """The number of deployments is limited, and the number made or changed at once."""
    service = start(Quotas(deployments=3, changing_deployments=2))
    arn = service.create()
    service.local.clock.advance(101)
    model = service.bedrock.get_model_customization_job(jobIdentifier=arn)["outputModelArn"]
    first = service.deploy(model)
    service.deploy(model)
    assert "quota of 2 custom model deployments in progress" in refused(service.deploy, model)
    service.local.clock.advance(51)
    service.deploy(model)
    service.local.clock.advance(51)
    assert "quota of 3 custom model deployments" in refused(service.deploy, model)
    update = service.bedrock.update_custom_model_deployment
    update(modelArn=model, customModelDeploymentIdentifier=first)
    service.local.clock.advance(51)
    service.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=first)
    service.deploy(model)


def test_name_of_a_deleted_models_job_stays_used(start: Start) -> None:
    """A job's name is used up, even when its model is gone."""
    service = start(Quotas())
    request = service.request()
    service.bedrock.create_model_customization_job(**request)
    service.local.clock.advance(101)
    service.bedrock.delete_custom_model(modelIdentifier=request["customModelName"])
    with pytest.raises(ClientError, match="The provided job name is currently in use"):
        service.bedrock.create_model_customization_job(**request | {"clientRequestToken": service.name("token")})
