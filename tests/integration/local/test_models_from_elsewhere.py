"""Models that were trained elsewhere: import jobs and imported models, and custom models from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock, Quotas
from tests.integration.local.conftest import wait

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

TAGS = [{"key": "team", "value": "support"}]
CONVERSATION = [{"role": "user", "content": [{"text": "red, green or blue"}]}]


def weights(values: bytes = b"\0\0\0\0") -> bytes:
    header = json.dumps({"w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + values


def files(**changes: bytes | None) -> dict[str, bytes]:
    """Return the files of a model; None leaves one out. A dot in a name is written as two underscores."""
    found: dict[str, bytes | None] = {
        "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}).encode(),
        "model.safetensors": weights(),
    }
    found |= {name.replace("__", "."): content for name, content in changes.items()}
    return {name: content for name, content in found.items() if content is not None}


def put(service: Service, folder: str, content: dict[str, bytes]) -> str:
    for name, body in content.items():
        service.s3.put_object(Bucket=service.local.bucket, Key=f"{folder}/{name}", Body=body)
    return f"s3://{service.local.bucket}/{folder}"


def request(service: Service, uri: str, **changes: Any) -> dict[str, Any]:
    return {
        "jobName": service.name("import"),
        "importedModelName": service.name("imported"),
        "roleArn": service.local.role_arn,
        "modelDataSource": {"s3DataSource": {"s3Uri": uri}},
    } | changes


def imported(service: Service, uri: str, **changes: Any) -> dict[str, Any]:
    """Import a model, and return the job when it has ended."""
    arn = service.bedrock.create_model_import_job(**request(service, uri, **changes))["jobArn"]
    return wait(lambda: dict(service.bedrock.get_model_import_job(jobIdentifier=arn)), "InProgress")


def created(service: Service, uri: str, **changes: Any) -> dict[str, Any]:
    """Register a custom model, and return it when it is there or has failed."""
    wanted = {"modelName": service.name("nova"), "modelSourceConfig": {"s3DataSource": {"s3Uri": uri}}} | changes
    arn = service.bedrock.create_custom_model(**wanted)["modelArn"]

    def get() -> dict[str, Any]:
        found = service.bedrock.get_custom_model(modelIdentifier=arn)
        return {**found, "status": found["modelStatus"]}

    return wait(get, "Creating")


def refused(call: Callable[..., Any], **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


@pytest.fixture(scope="module")
def llama(service: Service) -> str:
    """A folder with a whole model."""
    return put(service, "llama", files())


def test_life_of_an_imported_model(service: Service, llama: str) -> None:
    """A job imports it, it is described, listed and asked by its ARN, and it is deleted; the job stays."""
    name = service.name("imported")
    wanted = request(service, llama, importedModelName=name, jobTags=TAGS, importedModelTags=TAGS)
    arn = service.bedrock.create_model_import_job(**wanted)["jobArn"]
    begun = service.bedrock.get_model_import_job(jobIdentifier=wanted["jobName"])
    assert (begun["jobArn"], begun["status"], "importedModelArn" in begun) == (arn, "InProgress", False)
    job = wait(lambda: dict(service.bedrock.get_model_import_job(jobIdentifier=arn)), "InProgress")
    assert (job["status"], job["importedModelName"]) == ("Completed", name)
    assert job["endTime"] >= job["creationTime"]
    found = service.bedrock.get_imported_model(modelIdentifier=name)
    model = found["modelArn"]
    assert (model, found["jobArn"]) == (job["importedModelArn"], arn)
    assert (found["modelArchitecture"], found["instructSupported"]) == ("llama", True)
    assert found["modelDataSource"] == wanted["modelDataSource"]
    for resource in (arn, model):
        assert service.bedrock.list_tags_for_resource(resourceARN=resource)["tags"] == TAGS
    said = service.runtime.converse(modelId=model, messages=CONVERSATION)["output"]["message"]["content"][0]["text"]
    assert said in ("red", ",", "green", "or", "blue")
    body = json.dumps({"prompt": "red, green or blue", "max_tokens": 10})
    answer = json.loads(service.runtime.invoke_model(modelId=model, body=body)["body"].read())
    assert (answer["generation"], answer["stop_reason"]) == (said, "stop")
    listed = service.bedrock.list_imported_models(nameContains=name)["modelSummaries"]
    assert [one["modelArn"] for one in listed] == [model]
    jobs = service.bedrock.list_model_import_jobs(nameContains=wanted["jobName"], statusEquals="Completed")
    assert [one["jobArn"] for one in jobs["modelImportJobSummaries"]] == [arn]
    service.bedrock.delete_imported_model(modelIdentifier=model)
    assert refused(service.bedrock.get_imported_model, modelIdentifier=name)[:2] == (404, "ResourceNotFoundException")
    assert refused(service.runtime.converse, modelId=model, messages=CONVERSATION)[0] == 404
    assert service.bedrock.get_model_import_job(jobIdentifier=arn)["status"] == "Completed"


def test_other_files_answer_otherwise(service: Service) -> None:
    """The same files answer the same; other weights do not answer all questions alike."""
    uris = [put(service, f"model-{one}", files(model__safetensors=weights(bytes([one] * 4)))) for one in (1, 2)]
    first, again, other = (imported(service, uri)["importedModelArn"] for uri in (uris[0], uris[0], uris[1]))
    questions = [question for question, _ in service.questions(12)]
    answers = [[service.text(model, question) for question in questions] for model in (first, again, other)]
    assert answers[0] == answers[1] != answers[2]


def test_converse_needs_a_template(service: Service) -> None:
    """A model without a template for conversations takes a prompt alone."""
    model = imported(service, put(service, "plain", files(tokenizer_config__json=b"{}")))["importedModelArn"]
    assert service.bedrock.get_imported_model(modelIdentifier=model)["instructSupported"] is False
    _, code, message = refused(service.runtime.converse, modelId=model, messages=CONVERSATION)
    assert (code, message[:41]) == ("ValidationException", "This action doesn't support the model tha")
    body = json.dumps({"prompt": "Hello"})
    assert json.loads(service.runtime.invoke_model(modelId=model, body=body)["body"].read())["generation"] == "Hello"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "No model files were found"),
        (files(config__json=None), "config.json was not found"),
        (files(tokenizer__json=None), "Neither tokenizer.json nor tokenizer.model was found"),
        (files(model__safetensors=None), "No weights in .safetensors files"),
        (files(config__json=b"{"), "config.json cannot be read"),
        (files(config__json=b'{"architectures": ["NobodysModel"]}'), "not support the architecture (NobodysModel)"),
        (files(model__safetensors=b"nothing"), "is not a safetensors file"),
        (files(model__safetensors=weights()[:-1]), "bytes, but its header says"),
        (
            files(model__safetensors__index__json=b'{"weight_map": {"w": "model-00001-of-00002.safetensors"}}'),
            "model-00001-of-00002.safetensors was not found",
        ),
    ],
)
def test_invalid_model_files_fail_the_import(service: Service, content: dict[str, bytes], message: str) -> None:
    """The job says which file is missing or broken, and leaves no model."""
    uri = put(service, service.name("broken"), content)
    job = imported(service, uri or f"s3://{service.local.bucket}/nothing")
    assert job["status"] == "Failed"
    assert message in job["failureMessage"]
    assert "importedModelArn" not in job


def test_role_has_to_read_the_files(service: Service, llama: str) -> None:
    """A role that is not there is refused at once; one that may not read fails the job."""
    nobody = "arn:aws:iam::123456789012:role/nobody"
    assert refused(service.bedrock.create_model_import_job, **request(service, llama, roleArn=nobody))[0] == 400
    iam, name = service.local.client("iam"), service.name("role")
    trust = {"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    job = imported(service, llama, roleArn=role)
    assert (job["status"], job["failureMessage"][:28]) == ("Failed", "Could not validate GetObject")


def test_names_and_tokens(service: Service, llama: str) -> None:
    """Names of jobs and models are used once; one token gets one job."""
    wanted = request(service, llama, clientRequestToken=service.name("token"))
    create = service.bedrock.create_model_import_job
    arn = create(**wanted)["jobArn"]
    assert create(**wanted)["jobArn"] == arn
    assert refused(create, **wanted | {"jobName": service.name("other")})[1] == "ConflictException"
    del wanted["clientRequestToken"]
    assert "job name is currently in use" in refused(create, **wanted)[2]
    assert "model name is currently in use" in refused(create, **wanted | {"jobName": service.name("other")})[2]


def test_quotas(service: Service) -> None:
    """One import at a time, and three models."""
    with LocalBedrock(clock="manual", quotas=Quotas()) as local:
        one = type(service)(local)
        uri = put(one, "llama", files())
        create = one.bedrock.create_model_import_job
        for _ in range(3):
            create(**request(one, uri))
            status, code, message = refused(create, **request(one, uri))
            assert (status, code) == (400, "ServiceQuotaExceededException")
            assert "1 model import jobs in progress" in message
            local.clock.advance(5)
        assert "3 imported models" in refused(create, **request(one, uri))[2]
        one.close()


def test_life_of_a_custom_model_from_a_checkpoint(service: Service) -> None:
    """It is Creating, then Active; it answers by provisioned throughput, and not on demand."""
    uri = put(service, "nova-micro-run", {"checkpoint/step_10/weights.bin": b"1"})
    model = created(service, uri, modelTags=TAGS, roleArn=service.local.role_arn)
    arn = model["modelArn"]
    assert (model["modelStatus"], model["customizationType"]) == ("Active", "IMPORTED")
    assert ":custom-model/imported/" in arn
    assert model["baseModelArn"].endswith("/amazon.nova-micro-v1:0:128k")
    assert not {"jobArn", "jobName", "hyperParameters", "trainingDataConfig"} & set(model)
    assert service.bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == TAGS
    listed = service.bedrock.list_custom_models(nameContains=model["modelName"], modelStatus="Active")
    assert [one["modelArn"] for one in listed["modelSummaries"]] == [arn]
    deploy = service.bedrock.create_custom_model_deployment
    assert refused(deploy, modelDeploymentName="never", modelArn=arn)[1] == "ValidationException"
    throughput = service.provision(arn)
    assert service.text(throughput, "red") == "red"
    body = json.dumps({"messages": CONVERSATION})
    assert json.loads(service.runtime.invoke_model(modelId=throughput, body=body)["body"].read())["output"]
    service.bedrock.delete_provisioned_model_throughput(provisionedModelId=throughput)
    service.bedrock.delete_custom_model(modelIdentifier=arn)


def test_checkpoint_has_to_be_there(service: Service) -> None:
    """Without files the model fails and says so; it can be deleted."""
    model = created(service, f"s3://{service.local.bucket}/nowhere")
    assert (model["modelStatus"], model["failureMessage"][:24]) == ("Failed", "No model files were foun")
    assert refused(service.bedrock.create_provisioned_model_throughput, **throughput_of(model))[0] == 400
    service.bedrock.delete_custom_model(modelIdentifier=model["modelName"])


def test_requests_for_a_custom_model_are_checked(service: Service) -> None:
    """One source, a free name, a quota; what is Creating can be neither deleted, deployed nor provisioned."""
    source = {"modelSourceConfig": {"s3DataSource": {"s3Uri": f"s3://{service.local.bucket}/nova"}}}
    with LocalBedrock(clock="manual", quotas=Quotas(custom_models=1)) as local:
        bedrock = local.client("bedrock")
        create = bedrock.create_custom_model
        assert refused(create, modelName="nova")[1] == "ValidationException"
        first, second = (create(modelName="nova", clientRequestToken="t", **source)["modelArn"] for _ in range(2))
        assert first == second
        assert refused(create, modelName="nova", **source)[1] == "ValidationException"
        assert refused(create, modelName="other", **source)[1] == "ServiceQuotaExceededException"
        assert refused(bedrock.delete_custom_model, modelIdentifier=first)[1] == "ConflictException"
        deploy = bedrock.create_custom_model_deployment
        assert "is Creating" in refused(deploy, modelDeploymentName="d", modelArn=first)[2]
        provision = bedrock.create_provisioned_model_throughput
        assert "is Creating" in refused(provision, **throughput_of({"modelArn": first}))[2]


def test_faults_fail_them(service: Service, llama: str) -> None:
    """An import, a creation and a copy fail with the message of a fault."""
    fail = service.local.faults.fail_job
    fail("import", "Out of luck")
    assert imported(service, llama)["failureMessage"] == "Out of luck"
    fail("creation", "Out of luck")
    assert created(service, llama)["failureMessage"] == "Out of luck"
    fail("copy", "Out of luck")
    west, model = service.local.client("bedrock", "us-west-2"), service.model()
    arn = west.create_model_copy_job(sourceModelArn=model, targetModelName=service.name("copy"))["jobArn"]
    job = wait(lambda: dict(west.get_model_copy_job(jobArn=arn)), "InProgress")
    assert (job["status"], job["failureMessage"]) == ("Failed", "Out of luck")


def test_they_go_on_after_a_restart(service: Service, tmp_path: Path) -> None:
    """Stopped half-way, both end after as long again, and answer in the run after that."""
    settings: dict[str, Any] = {"clock": "manual", "job_seconds": 100, "state": tmp_path}
    with LocalBedrock(**settings) as local:
        one = type(service)(local)
        uri = put(one, "llama", files())
        job = one.bedrock.create_model_import_job(**request(one, uri))["jobArn"]
        source = {"modelSourceConfig": {"s3DataSource": {"s3Uri": uri}}}
        model = one.bedrock.create_custom_model(modelName="nova", **source)["modelArn"]
        local.clock.advance(50)
        one.close()
    for after, expected in (
        (49, ("InProgress", "Creating")),
        (2, ("Completed", "Active")),
        (0, ("Completed", "Active")),
    ):
        with LocalBedrock(**settings) as local:
            bedrock = local.client("bedrock")
            local.clock.advance(after)
            found = bedrock.get_model_import_job(jobIdentifier=job)
            status = bedrock.get_custom_model(modelIdentifier=model)["modelStatus"]
            assert (found["status"], status) == expected
            if status == "Active":
                runtime = local.client("bedrock-runtime")
                assert runtime.converse(modelId=found["importedModelArn"], messages=CONVERSATION)["output"]


def throughput_of(model: dict[str, Any]) -> dict[str, Any]:
    return {"provisionedModelName": "t", "modelUnits": 1, "modelId": model["modelArn"]}
