"""No answer is paid for twice, by Local Bedrock's journal: kills, workers at once, swapped models, throttling."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from airflow_bedrock import configuration
from airflow_bedrock.compat import TaskDeferred
from airflow_bedrock.converse import ConverseModel
from airflow_bedrock.customization.tags import is_of_dag
from airflow_bedrock.evaluation import inference, pace
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockBatchAnswersOperator, BedrockModelEvaluationOperator
from airflow_bedrock.shapes import missing_in_botocore

pytestmark = pytest.mark.local_bedrock(job_seconds=0.3, deployment_seconds=0.2)

updates, batches = (
    pytest.mark.skipif(bool(missing_in_botocore(name)), reason=f"this botocore does not know {name}")
    for name in ("UpdateCustomModelDeployment", "CreateModelInvocationJob.modelInvocationType")
)

MICRO, LITE = "amazon.nova-micro-v1:0", "amazon.nova-lite-v1:0"
QUESTIONS = 120
AT_ONCE = 4
KEEP = 5


@pytest.fixture
def local(local_bedrock_module: LocalBedrock) -> Iterator[LocalBedrock]:
    yield local_bedrock_module
    local_bedrock_module.faults.clear()
    local_bedrock_module.calls.clear()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "KEEP_ANSWERS", KEEP)
    monkeypatch.setattr(pace, "_LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(inference, "_LONGEST_PAUSE", 0.2)


def arguments(local: LocalBedrock, count: int = QUESTIONS, **more: Any) -> dict[str, Any]:
    """Of an evaluation on a file of its own."""
    name = uuid.uuid4().hex
    client = local.client("s3")
    lines = (json.dumps({"prompt": f"{name} question {n}", "completion": "yes"}) for n in range(count))
    client.put_object(Bucket=local.bucket, Key=f"{name}/test.jsonl", Body="\n".join(lines).encode())
    client.close()
    return {
        "task_id": "evaluate",
        "test_data_uri": f"s3://{local.bucket}/{name}/test.jsonl",
        "candidate_model_id": MICRO,
        "baseline_model_id": LITE,
        "output_uri": f"s3://{local.bucket}/{name}/out",
        "answers_uri": f"s3://{local.bucket}/answers",
        "concurrency": AT_ONCE,
        **more,
    }


def asked(local: LocalBedrock, model_id: str, *, answered: bool = False) -> list[tuple[float, str]]:
    """When which question reached the model."""
    return [
        (call.time.timestamp(), call.parameters["requestMetadata"]["airflow-bedrock-question"])
        for call in local.calls.of("Converse", modelId=model_id)
        if call.status == 200 or not answered
    ]


class Asking(NamedTuple):
    """A question that reached the model.

    :param worker: who asked it, by the number that it has in ``evaluating.py``.
    """

    answered: float
    question: str
    worker: int
    begun: float


def askings(local: LocalBedrock, delays: list[float], given: dict[str, Any]) -> tuple[dict[str, Any], list[Asking]]:
    """Evaluate with two workers at once, who die; return what the program says, and the journal."""
    program = Path(__file__).with_name("evaluating.py")
    ran = subprocess.run(
        [sys.executable, program, json.dumps(given), json.dumps(delays)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
    found = []
    for answered, name in asked(local, given["candidate_model_id"]):
        question, worker, begun = name.split("-")
        found.append(Asking(answered, question, int(worker), float(begun)))
    return json.loads(ran.stdout.splitlines()[-1]), found


def asked_in_vain(calls: list[Asking], began: list[float], in_flight: int) -> list[Asking]:
    """Return the questions that a worker asked although another had kept the answer before it last read them.

    A worker reads them when it begins, and with each batch that it keeps: so before its last answers, as many as are in
    flight. All answers of the other one are kept but its last ones, as many as are in flight.
    """
    vain = []
    for call in calls:
        own = sorted(one.answered for one in calls if one.worker == call.worker and one.answered < call.begun)
        looked = own[-in_flight] if len(own) >= in_flight else began[call.worker]
        for other in {one.worker for one in calls} - {call.worker}:
            known = sorted(one for one in calls if one.worker == other and one.answered < looked)[:-in_flight]
            vain += [call] * any(one.question == call.question for one in known)
    return vain


def test_the_inference_parameters_of_production(local: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What inference_config and additional_model_request_fields set is in each request, with the other parameters."""
    more = {"reasoningConfig": {"type": "disabled"}}
    given = arguments(local, 2, inference_config={"topP": 0.5}, additional_model_request_fields=more)
    ask, requests = ConverseModel.ask, []

    def recorded(model: ConverseModel, request: Mapping[str, Any], key: str = "") -> Answer:
        requests.append(request)
        return ask(model, request, key)

    monkeypatch.setattr(ConverseModel, "ask", recorded)
    BedrockModelEvaluationOperator(**given, max_tokens=9).execute({})
    assert [request["inferenceConfig"] for request in requests] == [{"maxTokens": 9, "topP": 0.5, "temperature": 0}] * 4
    assert [request["additionalModelRequestFields"] for request in requests] == [more] * 4


def test_two_workers_at_once_and_kills_at_ten_random_points(local: LocalBedrock) -> None:
    """Workers are killed while others go on: no question outside a batch in flight is asked twice.

    Two workers share the questions. In the end they say the same, and leave what can be read: a retry asks nobody.
    """
    local.faults.delay("Converse", 0.05)
    given = arguments(local, count=160, baseline_model_id=MICRO, concurrency=2)
    moments = random.Random(14)  # noqa: S311  # the same each time
    found, calls = askings(local, [moments.uniform(0.1, 0.4) for _ in range(10)], given)
    one, other = ({**result, "cost": None} for result in found["results"])  # each has paid its own
    assert one == other
    assert one["candidate"]["n"] == len({call.question for call in calls}) == 160
    assert {call.worker for call in calls} == set(range(12))
    assert not asked_in_vain(calls, found["began"], in_flight=KEEP + 2 * 2)
    assert len(calls) < 300, "side by side they would ask twice each of the 160"
    local.calls.clear()
    BedrockModelEvaluationOperator(**given).execute({})
    assert local.calls.of("Converse") == []


def test_another_candidate_is_asked_and_the_same_baseline_is_not(local: LocalBedrock) -> None:
    """So is another model beside them; and the answers are encrypted with the key, under the environment."""
    given = arguments(local, count=12, kms_key_id="alias/answers")
    BedrockModelEvaluationOperator(**given).execute({})
    local.calls.clear()
    given |= {"candidate_model_id": "amazon.nova-pro-v1:0", "output_uri": given["output_uri"] + "2"}
    result = BedrockModelEvaluationOperator(**given, other_models={"former": MICRO}).execute({})
    assert len(local.calls.of("Converse")) == len(local.calls.of("Converse", modelId="amazon.nova-pro-v1:0")) == 12
    assert result["former"]["n"] == 12
    s3 = local.client("s3")
    listed = s3.list_objects_v2(Bucket=local.bucket, Prefix="answers/airflow/")["Contents"]
    head = s3.head_object(Bucket=local.bucket, Key=max(listed, key=lambda one: one["LastModified"])["Key"])
    s3.close()
    assert head["ServerSideEncryption"] == "aws:kms"


def test_long_throttling_fails_nothing(local: LocalBedrock) -> None:
    """Throttled for two seconds, and then sixty times: every question is answered once."""
    local.faults.throttle("Converse", seconds=2)
    local.faults.throttle("Converse", times=60)
    result = BedrockModelEvaluationOperator(**arguments(local, count=30)).execute({})
    assert result["candidate"]["n"] == 30
    for model_id in (MICRO, LITE):
        assert len(asked(local, model_id, answered=True)) == 30
    assert sum(call.error == "ThrottlingException" for call in local.calls.of("Converse")) >= 60


def test_a_model_with_two_roles_is_asked_once(local: LocalBedrock) -> None:
    """The answers lie in the bucket's root here; another evaluation finds them there."""
    given = arguments(local, count=12, baseline_model_id=MICRO, answers_uri=f"s3://{local.bucket}")
    result = BedrockModelEvaluationOperator(**given).execute({})
    assert (result["verdict"], result["difference"]["value"]) == ("undecided", 0)
    BedrockModelEvaluationOperator(**given).execute({})
    assert len(local.calls.of("Converse")) == 12


def test_a_control_plane_that_throttles_is_waited_for(local: LocalBedrock, models: tuple[str, str]) -> None:
    """Which model is behind the deployment is asked until it is known; meanwhile nothing fails."""
    given = arguments(local, count=12, candidate_model_id=deployed(local, models[0]))
    local.faults.throttle("GetCustomModelDeployment", times=12)
    assert BedrockModelEvaluationOperator(**given).execute({})["candidate"]["n"] == 12
    local.calls.clear()
    BedrockModelEvaluationOperator(**given).execute({})
    assert local.calls.of("Converse") == []


@pytest.fixture(scope="module")
def models(local_bedrock_module: LocalBedrock) -> tuple[str, str]:
    """Two custom models."""
    local = local_bedrock_module
    bedrock, s3 = local.client("bedrock"), local.client("s3")
    lines = (
        json.dumps(
            {
                "schemaVersion": "bedrock-conversation-2024",
                "messages": [
                    {"role": "user", "content": [{"text": f"question {n}"}]},
                    {"role": "assistant", "content": [{"text": "yes"}]},
                ],
            }
        )
        for n in range(20)
    )
    s3.put_object(Bucket=local.bucket, Key="train.jsonl", Body="\n".join(lines).encode())
    made = []
    for name in ("one", "other"):
        job = bedrock.create_model_customization_job(
            jobName=name,
            customModelName=name,
            roleArn=local.role_arn,
            baseModelIdentifier=f"{MICRO}:128k",
            trainingDataConfig={"s3Uri": f"s3://{local.bucket}/train.jsonl"},
            outputDataConfig={"s3Uri": f"s3://{local.bucket}/output"},
        )["jobArn"]
        while (found := bedrock.get_model_customization_job(jobIdentifier=job))["status"] == "InProgress":
            time.sleep(0.05)
        made.append(found["outputModelArn"])
    bedrock.close()
    s3.close()
    return made[0], made[1]


def deployed(local: LocalBedrock, model_arn: str) -> str:
    bedrock = local.client("bedrock")
    name = f"d-{uuid.uuid4().hex[:8]}"
    arn: str = bedrock.create_custom_model_deployment(modelDeploymentName=name, modelArn=model_arn)[
        "customModelDeploymentArn"
    ]
    while bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn)["status"] != "Active":
        time.sleep(0.05)
    bedrock.close()
    return arn


@updates
def test_answers_belong_to_the_model_behind_the_deployment(local: LocalBedrock, models: tuple[str, str]) -> None:
    """Another deployment of the same model asks nothing; the same deployment with another model asks everything."""
    one, other = models
    deployment = deployed(local, one)
    given = arguments(local, count=12, candidate_model_id=deployment)
    BedrockModelEvaluationOperator(**given).execute({})
    local.calls.clear()
    again = {**given, "candidate_model_id": deployed(local, one)}
    BedrockModelEvaluationOperator(**again).execute({})
    assert local.calls.of("Converse") == []
    bedrock = local.client("bedrock")
    bedrock.update_custom_model_deployment(customModelDeploymentIdentifier=deployment, modelArn=other)
    while (found := bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=deployment))[
        "modelArn"
    ] != other or found["updateDetails"]["updateStatus"] == "Updating":
        time.sleep(0.05)
    bedrock.close()
    BedrockModelEvaluationOperator(**given).execute({})
    assert len(local.calls.of("Converse", modelId=deployment)) == 12


@updates
def test_a_model_that_changes_while_it_is_asked(
    local: LocalBedrock, models: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task fails, and what is kept is the first model's alone: none that was asked once it had been changed.

    It is changed by the thread that then asks the thirtieth question, whatever else the machine does.
    """
    one, other = models
    deployment = deployed(local, one)
    given = arguments(local, candidate_model_id=deployment, answers_uri=f"s3://{local.bucket}/changing")
    ask, turns = ConverseModel.ask, itertools.count(1)
    late: set[str] = set()

    def swapping(self: ConverseModel, request: Any, key: str = "") -> Answer:
        if self.model_id == deployment:
            if next(turns) == 30:
                bedrock.update_custom_model_deployment(customModelDeploymentIdentifier=deployment, modelArn=other)
                changed.set()
            if changed.is_set():
                late.add(key)
        return ask(self, request, key)

    monkeypatch.setattr(ConverseModel, "ask", swapping)
    bedrock, changed = local.client("bedrock"), threading.Event()
    with pytest.raises(BedrockError, match=r"The model behind .* (was|is being) replaced") as caught:
        BedrockModelEvaluationOperator(**given).execute({})
    bedrock.close()
    assert not isinstance(caught.value, BedrockFatalError)
    assert late
    kept = set(kept_keys(local, "changing/"))
    assert len(kept) >= KEEP
    assert not kept & late


def kept_keys(local: LocalBedrock, prefix: str) -> Iterator[str]:
    s3 = local.client("s3")
    for item in s3.list_objects_v2(Bucket=local.bucket, Prefix=prefix).get("Contents", []):
        with s3.get_object(Bucket=local.bucket, Key=item["Key"])["Body"] as body:
            yield from (json.loads(line)[0] for line in gzip.decompress(body.read()).splitlines())
    s3.close()


def pictured(local: LocalBedrock, location: dict[str, str], model_id: str = LITE) -> dict[str, Any]:
    """Of an evaluation with one question about an image, and one without."""
    image = {"image": {"format": "png", "source": {"s3Location": location}}}
    messages = [{"role": "user", "content": [{"text": "What is it?"}, image]}]
    given = arguments(local, candidate_model_id=model_id, baseline_model_id=model_id)
    s3 = local.client("s3")
    bucket, _, key = given["test_data_uri"].removeprefix("s3://").partition("/")
    lines = [{"messages": messages, "reference_answer": "a cat"}, {"prompt": f"{key}?", "completion": "yes"}]
    s3.put_object(Bucket=bucket, Key=key, Body="\n".join(map(json.dumps, lines)).encode())
    s3.close()
    return given


def test_an_image_is_part_of_the_question_by_its_content(local: LocalBedrock) -> None:
    """The same bytes uploaded again are the same question; other bytes under the same URI are another."""
    name = f"{uuid.uuid4().hex}.png"
    given = pictured(local, {"uri": f"s3://{local.bucket}/{name}"})
    calls = []
    for content in (b"cat", b"cat", b"dog"):
        s3 = local.client("s3")
        s3.put_object(Bucket=local.bucket, Key=name, Body=content)
        s3.close()
        BedrockModelEvaluationOperator(**given).execute({})
        calls.append(len(local.calls.of("Converse")))
        local.calls.clear()
    assert calls == [2, 0, 1]


@pytest.mark.parametrize("location", [{}, {"bucketOwner": "123456789012"}])
def test_an_image_without_a_uri_is_an_error_of_its_record(local: LocalBedrock, location: dict[str, str]) -> None:
    """It is named by its record and by the member that is missing; a retry would not help."""
    with pytest.raises(BedrockFatalError, match=r"(?s)Record 1: .*uri"):
        BedrockModelEvaluationOperator(**pictured(local, location)).execute({})


def context(run_id: str, try_number: int = 1) -> Any:
    ti = SimpleNamespace(
        dag_id="dag", task_id="batch", run_id=run_id, map_index=-1, max_tries=3, try_number=try_number, task=None
    )
    return {"ti": ti, "dag_run": SimpleNamespace()}


def batch(local: LocalBedrock, given: dict[str, Any], **more: Any) -> BedrockBatchAnswersOperator:
    shared = {name: given[name] for name in ("task_id", "test_data_uri", "answers_uri")}
    return BedrockBatchAnswersOperator(
        **shared,
        model_id=given["candidate_model_id"],
        role_arn=local.role_arn,
        output_uri=f"{given['output_uri']}/batch",
        waiter_delay=0.1,
        **more,
    )


@batches
def test_large_sets_by_batch_inference(local: LocalBedrock, models: tuple[str, str]) -> None:
    """A job answers by the model behind the deployment; a retry adopts it; the evaluation asks the rest."""
    given = arguments(local, count=309, candidate_model_id=deployed(local, models[0]))
    blank = json.dumps({"messages": [{"role": "user", "content": [{"text": " "}]}], "reference_answer": "yes"})
    s3 = local.client("s3")
    bucket, _, key = given["test_data_uri"].removeprefix("s3://").partition("/")
    with s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
        s3.put_object(Bucket=bucket, Key=key, Body=blank.encode() + b"\n" + body.read())
    s3.close()
    local.faults.drop("CreateModelInvocationJob", times=None)
    with pytest.raises(BedrockError, match="the next try of this task finds that batch job"):
        batch(local, given).execute(context("one"))
    local.faults.clear()
    result = batch(local, given).execute(context("one", try_number=2))
    assert result["model"] == models[0]
    assert (result["records"], result["answered"], result["missing"]) == (310, 309, 1)
    assert result["errors"] == {"400": 1}
    bedrock = local.client("bedrock")
    listed = bedrock.list_model_invocation_jobs()["invocationJobSummaries"]
    bedrock.close()
    assert {job["jobArn"] for job in listed if job["modelId"] == models[0]} == set(result["job_arns"])
    tags = BedrockHook().tags_of(result["job_arns"][0])
    assert is_of_dag(tags, configuration.environment(), "dag")  # else no orphan would be found
    assert len(result["job_arns"]) == 1
    local.calls.clear()
    again = batch(local, given).execute(context("one", try_number=3))
    assert (again["job_arns"], again["errors"]) == (result["job_arns"], {"400": 1})
    assert local.calls.of("CreateModelInvocationJob") == []
    with pytest.raises(BedrockFatalError, match=r"Record 1: .* ValidationException"):
        BedrockModelEvaluationOperator(**given, max_records=310).execute({})
    assert len(asked(local, given["candidate_model_id"])) <= 1


@batches
def test_a_model_that_changes_between_two_tries_gets_no_answers_of_the_other(
    local: LocalBedrock, models: tuple[str, str]
) -> None:
    """The retry takes up the job that asked the former model; its answers are not kept as those of the new one."""
    own = f"s3://{local.bucket}/{uuid.uuid4().hex}"
    given = arguments(local, count=120, candidate_model_id=models[0], answers_uri=own)
    local.faults.drop("CreateModelInvocationJob", times=None)
    with pytest.raises(BedrockError, match="the next try of this task finds that batch job"):
        batch(local, given).execute(context("swap"))
    local.faults.clear()
    given["candidate_model_id"] = models[1]
    result = batch(local, given).execute(context("swap", try_number=2))
    assert (result["model"], result["answered"]) == (models[1], 0)
    assert result["errors"] == {"another model": 120}
    assert list(kept_keys(local, given["answers_uri"].partition(f"{local.bucket}/")[2])) == []


@batches
def test_a_batch_job_is_waited_for_in_the_triggerer(local: LocalBedrock, models: tuple[str, str]) -> None:
    """The task defers with the trigger of any kind of resource, and goes on when that has said that the job ended."""
    given = arguments(local, count=100, candidate_model_id=models[1])
    task = batch(local, given, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context("other"))
    trigger, goes_on = deferred.value.trigger, deferred.value.kwargs or {}
    assert trigger.serialize()[1]["stop_on_kill"] is True

    async def event() -> Any:
        (found,) = [one async for one in trigger.run()]
        return found.payload

    result = task.execute_complete(context("other"), event=asyncio.run(event()), **goes_on)
    assert (result["answered"], len(result["job_arns"])) == (100, 1)
