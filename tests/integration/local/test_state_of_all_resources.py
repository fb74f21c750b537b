"""After a restart every kind of resource is there again, and what was under way goes on where it stood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_bedrock.local import LocalBedrock, Quotas

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service


def start(state: Path, kind: type[Service]) -> Service:
    local = LocalBedrock(
        clock="manual", job_seconds=100, deployment_seconds=50, state=state, quotas=Quotas(training_jobs=1)
    )
    return kind(local.start())


def stop(service: Service) -> None:
    service.close()
    service.local.stop()


def statuses(service: Service, arns: dict[str, str]) -> dict[str, Any]:
    get = service.bedrock
    return {
        "throughput": get.get_provisioned_model_throughput(provisionedModelId=arns["throughput"])["status"],
        "batch": get.get_model_invocation_job(jobIdentifier=arns["batch"])["status"],
        "first": get.get_model_customization_job(jobIdentifier=arns["first"])["status"],
        "second": get.get_model_customization_job(jobIdentifier=arns["second"])["status"],
        "tags": get.list_tags_for_resource(resourceARN=arns["throughput"])["tags"],
    }


def begin(service: Service) -> dict[str, str]:
    """Begin one of each, and return their ARNs."""
    lines = [{"modelInput": {"messages": [{"role": "user", "content": [{"text": f"n{n}"}]}]}} for n in range(100)]
    batch = service.put("batch.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    output, bedrock = f"s3://{service.local.bucket}/out", service.bedrock
    return {
        "first": service.create(),
        "second": service.create(),
        "throughput": bedrock.create_provisioned_model_throughput(
            provisionedModelName="t",
            modelUnits=1,
            modelId="amazon.nova-micro-v1:0:128k",
            tags=[{"key": "team", "value": "a"}],
        )["provisionedModelArn"],
        "batch": bedrock.create_model_invocation_job(
            jobName="b",
            roleArn=service.local.role_arn,
            modelId="amazon.nova-micro-v1:0",
            inputDataConfig={"s3InputDataConfig": {"s3Uri": batch}},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": output}},
        )["jobArn"],
    }


def test_all_resources_survive(service: Service, tmp_path: Path) -> None:
    """Twice stopped and started, jobs, throughput and batch end as if nothing had happened."""
    one = start(tmp_path, type(service))
    arns = begin(one)
    one.local.clock.advance(40)
    before = statuses(one, arns)
    stop(one)
    assert (before["throughput"], before["batch"]) == ("Creating", "InProgress")

    two = start(tmp_path, type(service))
    assert statuses(two, arns) == before
    assert before["tags"] == [{"key": "team", "value": "a"}]
    two.local.clock.advance(60)
    ended = statuses(two, arns)
    assert (ended["throughput"], ended["batch"]) == ("InService", "Completed")
    assert (ended["first"], ended["second"]) == ("Completed", "InProgress")
    stop(two)

    three = start(tmp_path, type(service))
    assert statuses(three, arns) == ended
    three.local.clock.advance(70)
    assert statuses(three, arns)["second"] == "Completed"
    assert three.bedrock.get_model_invocation_job(jobIdentifier=arns["batch"])["successRecordCount"] == 100
    stop(three)
