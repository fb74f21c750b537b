"""UpdateCustomModelDeployment: another model comes behind an ARN that stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock, Quotas
from scripts.training_data import record
from tests.integration.local.conftest import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.local.conftest import Service

SETTINGS: dict[str, Any] = {"clock": "manual", "job_seconds": 100, "deployment_seconds": 50}


@pytest.fixture
def manual(service: Service) -> Iterator[Service]:
    """A Local Bedrock whose time stands still."""
    with LocalBedrock(**SETTINGS) as local:
        one = type(service)(local)
        yield one
        one.close()


def trained(service: Service, shift: int) -> str:
    """Train a model whose answers are those of the data, each taken so many places on."""
    labels = sorted(ANSWERS)
    lines = [
        record(question, labels[(labels.index(answer) + shift) % 3]) for question, answer in service.questions(120)
    ]
    uri = service.put(f"{shift}.jsonl", "".join(lines))
    arn = service.create(trainingDataConfig={"s3Uri": uri})
    service.local.clock.advance(100)
    model: str = service.bedrock.get_model_customization_job(jobIdentifier=arn)["outputModelArn"]
    return model


def deployed(service: Service, model: str) -> str:
    arn = service.deploy(model)
    service.local.clock.advance(50)
    return arn


def update(service: Service, deployment: str, model: str) -> str:
    arn: str = service.bedrock.update_custom_model_deployment(
        customModelDeploymentIdentifier=deployment, modelArn=model
    )["customModelDeploymentArn"]
    return arn


def get(service: Service, deployment: str) -> dict[str, Any]:
    found: dict[str, Any] = service.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=deployment)
    return found


def refused(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_the_old_model_answers_until_the_new_one_does(manual: Service) -> None:
    """While Updating nothing else changes: the old model answers, and is needed; then the new one does."""
    old, new = trained(manual, 0), trained(manual, 1)
    arn = deployed(manual, old)
    question, answer = manual.questions(1)[0]
    assert "updateDetails" not in get(manual, arn)
    assert update(manual, arn, new) == arn
    found = get(manual, arn)
    assert (found["status"], found["modelArn"]) == ("Active", old)
    assert found["updateDetails"] == {"modelArn": new, "updateStatus": "Updating"}
    assert manual.text(arn, question) == answer
    for model in (old, new):
        assert refused(manual.bedrock.delete_custom_model, modelIdentifier=model) == "ConflictException"
    manual.local.clock.advance(50)
    found = get(manual, arn)
    assert (found["modelArn"], found["updateDetails"]["updateStatus"]) == (new, "UpdateCompleted")
    assert found["lastUpdatedAt"] > found["createdAt"]
    assert manual.text(arn, question) != answer
    manual.bedrock.delete_custom_model(modelIdentifier=old)


def test_a_failed_update_leaves_the_old_model(manual: Service) -> None:
    """The old model goes on answering; the next update may succeed."""
    old, new = trained(manual, 0), trained(manual, 1)
    arn = deployed(manual, old)
    manual.local.faults.fail_job("update", "Out of luck")
    update(manual, arn, new)
    manual.local.clock.advance(50)
    found = get(manual, arn)
    assert (found["status"], found["modelArn"]) == ("Active", old)
    assert found["updateDetails"] == {"modelArn": new, "updateStatus": "UpdateFailed"}
    question, answer = manual.questions(1)[0]
    assert manual.text(arn, question) == answer
    update(manual, arn, new)
    manual.local.clock.advance(50)
    assert get(manual, arn)["updateDetails"]["updateStatus"] == "UpdateCompleted"


def test_what_changes_cannot_be_changed(manual: Service) -> None:
    """A deployment that is Creating or Updating takes neither an update nor its deletion."""
    old, new = trained(manual, 0), trained(manual, 1)
    arn = manual.deploy(old)
    for _ in range(2):
        call = {"customModelDeploymentIdentifier": arn}
        assert refused(manual.bedrock.update_custom_model_deployment, **call, modelArn=new) == "ValidationException"
        assert refused(manual.bedrock.delete_custom_model_deployment, **call) == "ValidationException"
        manual.local.clock.advance(50)
        update(manual, arn, new)
    manual.local.clock.advance(50)
    manual.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=arn)


def test_model_and_deployment_have_to_be_there(manual: Service) -> None:
    """What does not exist is not found; the present model may be put once more."""
    model = trained(manual, 0)
    arn = deployed(manual, model)
    call = manual.bedrock.update_custom_model_deployment
    assert refused(call, customModelDeploymentIdentifier="nothing", modelArn=model) == "ResourceNotFoundException"
    nobody = model[:-12] + "abcdefghij12"
    assert refused(call, customModelDeploymentIdentifier=arn, modelArn=nobody) == "ResourceNotFoundException"
    assert "updateDetails" not in get(manual, arn)
    update(manual, arn, model)
    manual.local.clock.advance(50)
    assert get(manual, arn)["updateDetails"] == {"modelArn": model, "updateStatus": "UpdateCompleted"}


def test_updates_count_as_deployments_in_progress(service: Service) -> None:
    """An update waits while as many deployments change as may."""
    with LocalBedrock(**SETTINGS, quotas=Quotas(changing_deployments=1)) as local:
        one = type(service)(local)
        model = trained(one, 0)
        first, second = deployed(one, model), deployed(one, model)
        update(one, first, model)
        call = one.bedrock.update_custom_model_deployment
        code = refused(call, customModelDeploymentIdentifier=second, modelArn=model)
        assert code == "ServiceQuotaExceededException"
        one.close()


def test_an_update_goes_on_after_a_restart(service: Service, tmp_path: Path) -> None:
    """Stopped half-way, the old model answers until as much time has passed again."""
    with LocalBedrock(**SETTINGS, state=tmp_path) as local:
        one = type(service)(local)
        old, new = trained(one, 0), trained(one, 1)
        arn = deployed(one, old)
        update(one, arn, new)
        local.clock.advance(25)
        one.close()
    with LocalBedrock(**SETTINGS, state=tmp_path) as local:
        one = type(service)(local)
        local.clock.advance(24)
        assert (get(one, arn)["modelArn"], get(one, arn)["updateDetails"]["updateStatus"]) == (old, "Updating")
        local.clock.advance(2)
        assert (get(one, arn)["modelArn"], get(one, arn)["updateDetails"]["updateStatus"]) == (new, "UpdateCompleted")
        one.close()
