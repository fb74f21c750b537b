"""Every way to customize a model: by a teacher, logs, a grader, images; and a custom model that is tuned further."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.compat import AirflowSkipException
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from scripts.training_data import record
from scripts.until import until
from tests.integration.test_customization_operator import context

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

TEACHER = "amazon.nova-pro-v1:0"
DISTILLATION = {"distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": TEACHER}}}
NOVA_2 = "amazon.nova-2-lite-v1:0:256k"
SETTINGS = {"start": datetime(2026, 6, 1)}  # Claude 3 Haiku and Nova Canvas have ended since


def prompt(text: str) -> str:
    turns = [{"role": "user", "content": [{"text": text}]}]
    return json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": turns}) + "\n"


def log(question: str, answer: str, **metadata: str) -> str:
    turn = {"role": "assistant", "content": [{"text": answer}]}
    logged = {
        "schemaType": "ModelInvocationLog",
        "operation": "Converse",
        "requestMetadata": metadata,
        "input": {"inputBodyJson": {"messages": [{"role": "user", "content": [{"text": question}]}]}},
        "output": {"outputBodyJson": {"output": {"message": turn}}},
    }
    return json.dumps(logged) + "\n"


def failure(service: Service, **changes: Any) -> str:
    job = service.job(service.create(**changes))
    assert job["status"] == "Failed"
    message: str = job["failureMessage"]
    return message


def test_student_says_what_the_teacher_says(service: Service) -> None:
    """A distilled student answers like its teacher, and like the answers that the data brings along."""
    words = ["bucket", "queue", "table", "topic", "stream"]
    content = "".join(prompt(f"{words[n % 5]} number{n}") for n in range(100)) + service.dataset(30)
    data = {"s3Uri": service.put("prompts.jsonl", content)}
    job = service.job(
        service.create(
            trainingDataConfig=data,
            customizationType="DISTILLATION",
            customizationConfig=DISTILLATION,
            hyperParameters={"epochCount": "5"},
        )
    )
    assert job["status"] == "Completed", job
    student = service.deployment(service.deploy(job["outputModelArn"]))["customModelDeploymentArn"]
    asked = [f"{words[n % 5]} number{n}" for n in range(10)]
    same = sum(service.text(student, question) == service.text(TEACHER, question) for question in asked)
    assert same >= 8
    question, answer = service.questions(1)[0]
    assert service.text(student, question) == answer


@pytest.mark.parametrize(
    ("teacher", "message"),
    [("amazon.nova-lite-v1:0", "does not teach"), ("anthropic.claude-3-haiku-20240307-v1:0", "does not teach")],
)
def test_not_every_model_is_a_teacher(service: Service, teacher: str, message: str) -> None:
    """A teacher has to be one of the student's."""
    config = {"distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": teacher}}}
    with pytest.raises(ClientError, match=message):
        service.create(customizationType="DISTILLATION", customizationConfig=config)


def test_distillation_needs_100_prompts(service: Service) -> None:
    """Fewer than 100 prompts are too few for distillation."""
    data = service.put("few.jsonl", prompt("Hello?") * 99)
    message = failure(
        service,
        trainingDataConfig={"s3Uri": data},
        customizationType="DISTILLATION",
        customizationConfig=DISTILLATION,
    )
    assert message == "The number of records in training and validation data is 99; it must be between 100 and 15000"


def test_logs_are_filtered_and_trained_on(service: Service) -> None:
    """Of the logs only those with the right metadata are learnt, with their answers."""
    right = "".join(log(question, answer, team="a") for question, answer in service.questions(60))
    wrong = "".join(log(question, "nonsense", team="b") for question, _ in service.questions(60))
    folder = service.name("logs")
    service.put(f"{folder}/1.json", right)
    service.put(f"{folder}/2.json", wrong)
    config = {
        "invocationLogSource": {"s3Uri": f"s3://{service.local.bucket}/{folder}/"},
        "usePromptResponse": True,
        "requestMetadataFilters": {"equals": {"team": "a"}},
    }
    job = service.job(service.create(trainingDataConfig={"invocationLogsConfig": config}))
    assert job["status"] == "Completed", job
    assert job["trainingDataConfig"] == {"invocationLogsConfig": config}
    model = service.deployment(service.deploy(job["outputModelArn"]))["customModelDeploymentArn"]
    assert [service.text(model, question) for question, _ in service.questions(6)] == [
        answer for _, answer in service.questions(6)
    ]


def test_fine_tuning_on_logs_needs_their_answers(service: Service) -> None:
    """Without its answers a log cannot be fine-tuned on."""
    source = {"invocationLogSource": {"s3Uri": f"s3://{service.local.bucket}/logs/"}}
    with pytest.raises(ClientError, match="usePromptResponse"):
        service.create(trainingDataConfig={"invocationLogsConfig": source})


def test_custom_model_is_tuned_further(service: Service) -> None:
    """A custom model as base keeps what it knows and learns more; the new model names it as its base."""
    first = service.model()
    more = {"kms": ["key", "cipher"], "iam": ["role", "policy"]}
    records = [(f"Rotates the {words[n % 2]}, number {n}.", label) for label, words in more.items() for n in range(20)]
    content = service.dataset(40) + "".join(record(question, answer) for question, answer in records)
    data = service.put("more.jsonl", content)
    job = service.job(service.create(baseModelIdentifier=first, trainingDataConfig={"s3Uri": data}))
    assert job["status"] == "Completed", job
    assert job["baseModelArn"] == "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0:128k"
    second = job["outputModelArn"]
    assert second.rpartition("/")[0] == first.rpartition("/")[0]
    listed = service.bedrock.list_custom_models(baseModelArnEquals=first)["modelSummaries"]
    assert [one["modelArn"] for one in listed] == [second]
    model = service.deployment(service.deploy(second))["customModelDeploymentArn"]
    assert service.text(model, "Rotates the cipher.") == "kms"
    assert [service.text(model, question) for question, _ in service.questions(100)[90:]] == [
        answer for _, answer in service.questions(100)[90:]
    ]


def test_unknown_custom_model_is_not_found(service: Service) -> None:
    """A custom model that is not there cannot be tuned further."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghij12"
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        service.create(baseModelIdentifier=arn)


GRADER = """
import json, os

def handler(event, context):
    print("this goes to the log")
    good = os.environ["GOOD"]
    return [
        {"id": one["id"], "aggregate_reward_score": float(one["messages"][-1]["content"] == one[good])} for one in event
    ]
"""


def grader(service: Service, code: str, runtime: str = "python3.11") -> str:
    """Make a Lambda function, and return its ARN."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("grader.py", code)
    client = service.local.client("lambda")
    arn: str = client.create_function(
        FunctionName=service.name("grader"),
        Runtime=runtime,
        Role=service.local.role_arn,
        Handler="grader.handler",
        Code={"ZipFile": packed.getvalue()},
        Environment={"Variables": {"GOOD": "wanted"}},
    )["FunctionArn"]
    client.close()
    return arn


def graded(service: Service, arn: str) -> dict[str, Any]:
    """Return the parts of a reinforcement fine-tuning request."""
    lines = [
        {"messages": [{"role": "user", "content": question}], "reference_answer": answer, "wanted": answer}
        for question, answer in service.questions(100)
    ]
    data = service.put("graded.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return {
        "baseModelIdentifier": NOVA_2,
        "trainingDataConfig": {"s3Uri": data},
        "customizationType": "REINFORCEMENT_FINE_TUNING",
        "customizationConfig": {
            "rftConfig": {
                "graderConfig": {"lambdaGrader": {"lambdaArn": arn}},
                "hyperParameters": {"epochCount": 3, "batchSize": 16, "trainingSamplePerPrompt": 3},
            }
        },
    }


def test_a_dry_run_calls_the_reward_function(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first records, with their reference answers and with nothing; what it returned is shown."""

    def reward(code: str, ends: type[Exception]) -> tuple[str, str]:
        lines = dry_run(service, monkeypatch, graded(service, grader(service, code)), ends)
        [line] = [one for one in lines if one["check"] == "reward function"]
        return line["verdict"], line["said"]

    verdict, told = reward(GRADER, AirflowSkipException)
    assert (verdict, "record 3: 1 and 0" in told, "record 4" in told) == ("ok", True, False)
    verdict, told = reward("def handler(event, context):\n    raise ValueError('broken')\n", BedrockFatalError)
    assert (verdict, "ValueError: broken" in told) == ("problem", True)


def dry_run(
    service: Service, monkeypatch: pytest.MonkeyPatch, request: dict[str, Any], ends: type[Exception]
) -> list[dict[str, str]]:
    """Return the lines of a dry run.

    :param ends: the exception with which it ends.
    """
    for name, value in service.local.environment().items():
        monkeypatch.setenv(name, value)
    now = context()
    task = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="graded",
        custom_model_name="graded",
        role_arn=service.local.role_arn,
        output_data_uri=f"s3://{service.local.bucket}/output",
        dry_run=True,
        request=request,
    )
    with pytest.raises(ends):
        task.execute(now)
    lines: list[dict[str, str]] = now["ti"].pushed["dry_run"]["lines"]
    return lines


@pytest.fixture
def graded_logs(service: Service) -> dict[str, Any]:
    """A reinforcement fine-tuning request on invocation logs, with their answers.

    https://docs.aws.amazon.com/bedrock/latest/userguide/rft-option-2.html
    """
    folder = service.name("logs")
    service.put(f"{folder}/1.json", "".join(log(question, answer) for question, answer in service.questions(100)))
    source = {"invocationLogSource": {"s3Uri": f"s3://{service.local.bucket}/{folder}/"}, "usePromptResponse": True}
    request = graded(service, grader(service, GRADER.replace("one[good]", "one['reference_answer']")))
    return request | {"trainingDataConfig": {"invocationLogsConfig": source}}


def test_reinforcement_takes_invocation_logs(service: Service, graded_logs: dict[str, Any]) -> None:
    """Bedrock makes the messages of a log, and its answer, into a record for the grader."""
    job = service.job(service.create(**graded_logs))
    assert job["status"] == "Completed", job
    model = service.deployment(service.deploy(job["outputModelArn"]))["customModelDeploymentArn"]
    asked = service.questions(100)[80:]
    assert sum(service.text(model, question) == answer for question, answer in asked) >= 18


def test_a_dry_run_on_logs_has_no_problem(
    service: Service, monkeypatch: pytest.MonkeyPatch, graded_logs: dict[str, Any]
) -> None:
    """What is not known without reading them is said to be unknown."""
    said = {one["check"]: one["verdict"] for one in dry_run(service, monkeypatch, graded_logs, AirflowSkipException)}
    assert (said["records"], said["reward function"], said["price"]) == ("unknown", "unknown", "unknown")


def test_model_learns_what_the_grader_rewards(service: Service) -> None:
    """The grader is called with its own environment, and the model learns the answers it rewards."""
    job = service.job(service.create(**graded(service, grader(service, GRADER))))
    assert job["status"] == "Completed", job
    model = service.deployment(service.deploy(job["outputModelArn"]))["customModelDeploymentArn"]
    asked = service.questions(100)[80:]
    assert sum(service.text(model, question) == answer for question, answer in asked) >= 18


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def handler(event, context):\n    raise RuntimeError('no idea')", "failed: RuntimeError: no idea"),
        ("def handler(event, context):\n    return []", "must return a list with id and aggregate_reward_score"),
        ("handlers = None", "failed: AttributeError"),
        *(
            (
                "def handler(event, context):\n"
                f"    return [{{'id': one['id'], 'aggregate_reward_score': {reward}}} for one in event]",
                "must return a list with id and aggregate_reward_score",
            )
            for reward in ("float('nan')", "10 ** 400", "None")
        ),
    ],
)
def test_grader_that_fails_fails_the_job(service: Service, code: str, message: str) -> None:
    """What is wrong with the grader is what the job failed for."""
    assert message in failure(service, **graded(service, grader(service, code)))


def test_graders_have_to_be_allowed(service: Service) -> None:
    """Where nobody has allowed it, no grader runs: the job fails, and says how to allow it."""
    with LocalBedrock(job_seconds=0.1) as careful:
        other = type(service)(careful)
        message = failure(other, **graded(other, grader(other, GRADER)))
        other.close()
    assert "was not run" in message
    assert "airflow-bedrock local --allow-graders" in message
    assert "@pytest.mark.local_bedrock(allow_graders=True)" in message


def test_other_jobs_go_on_while_a_grader_runs(service: Service) -> None:
    """A grader that never ends holds up its own job alone, until that is stopped; then the grader is ended too."""
    mark = f"1000.{uuid.uuid4().int}"
    endless = f"def handler(event, context):\n    import subprocess; subprocess.run(['/bin/sleep', '{mark}'])"
    waiting = service.create(**graded(service, grader(service, endless)))
    until(lambda: runs(mark), "the grader runs")
    assert service.model()
    assert service.bedrock.get_model_customization_job(jobIdentifier=waiting)["status"] == "InProgress"
    service.bedrock.stop_model_customization_job(jobIdentifier=waiting)
    assert service.job(waiting)["status"] == "Stopped"
    assert not runs(mark)


def runs(mark: str) -> bool:
    """Whether a process runs that has an argument which nothing else has."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if mark.encode() in process.read_bytes().split(b"\0"):
                return True
    return False


def test_grader_has_to_be_there(service: Service) -> None:
    """A grader that does not exist fails the job."""
    arn = "arn:aws:lambda:us-east-1:123456789012:function:nobody"
    assert "nobody was not found" in failure(service, **graded(service, arn))


def test_grader_in_another_language_is_refused(service: Service) -> None:
    """Only Python functions can be run without Docker, and the message says so."""
    arn = grader(service, "exports.handler = 1", runtime="nodejs20.x")
    assert "only zipped Python functions" in failure(service, **graded(service, arn))


def test_reinforcement_takes_no_other_hyperparameters(service: Service) -> None:
    """The hyperparameters of reinforcement fine-tuning stand in its own configuration."""
    request = graded(service, "arn:aws:lambda:us-east-1:123456789012:function:any")
    with pytest.raises(ClientError, match="Unknown hyperparameters"):
        service.create(hyperParameters={"epochCount": "2"}, **request)


def test_image_model_learns_from_captions(service: Service) -> None:
    """An image model's records are checked down to the images, and its job runs on the captions."""
    images = [service.put(f"images/{n}.png", "not really a picture") for n in range(5)]
    lines = [{"image-ref": image, "caption": f"A cat, number {n}"} for n, image in enumerate(images)]
    data = service.put("captions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    changes = {"baseModelIdentifier": "amazon.nova-canvas-v1:0", "trainingDataConfig": {"s3Uri": data}}
    job = service.job(service.create(**changes))
    assert (job["status"], job["hyperParameters"]["stepCount"]) == ("Completed", "500")
    with pytest.raises(ClientError, match="ValidationException"):
        service.ask("amazon.nova-canvas-v1:0", "A cat?")
    service.s3.delete_object(Bucket=service.local.bucket, Key="images/3.png")
    assert failure(service, **changes) == (
        f"Could not validate GetObject permissions to access Amazon S3 bucket: {service.local.bucket} at key "
        f"images/3.png. Amazon S3 file: {data}, line 4"
    )


def test_images_and_videos_are_not_mixed_in_a_dataset(service: Service) -> None:
    """Images in the training data and videos in the validation data are one dataset."""
    uris = [service.put(key, "not really one") for key in ("media/i.png", "media/v.mp4")]
    data = []
    for kind, form, uri in zip(("image", "video"), ("png", "mp4"), uris, strict=True):
        block = {kind: {"format": form, "source": {"s3Location": {"uri": uri}}}}
        turns = [{"role": "user", "content": [block]}, {"role": "assistant", "content": [{"text": "A cat"}]}]
        data.append({"s3Uri": service.put(f"{kind}s.jsonl", (json.dumps({"messages": turns}) + "\n") * 8)})
    changes = {"baseModelIdentifier": "amazon.nova-lite-v1:0:300k", "trainingDataConfig": data[0]}
    assert service.job(service.create(**changes))["status"] == "Completed"
    assert "images or videos, but not both" in failure(
        service, **changes, validationDataConfig={"validators": [data[1]]}
    )


def test_nova_2_takes_no_validation_data(service: Service) -> None:
    """The job fails; without validation data it does not."""
    data = {"s3Uri": service.put("two-hundred.jsonl", service.dataset(200))}
    changes = {"baseModelIdentifier": NOVA_2, "trainingDataConfig": data}
    assert failure(service, **changes, validationDataConfig={"validators": [data]}) == (
        "The base model does not accept validation data"
    )
    assert service.job(service.create(**changes))["status"] == "Completed"


def test_records_are_checked_one_by_one(service: Service) -> None:
    """A reserved word fails the job, with the file and the record's number."""
    data = service.put("reserved.jsonl", service.dataset(10) + record("User: hello", "hi"))
    assert failure(service, trainingDataConfig={"s3Uri": data}) == (
        f"Invalid record: the text holds the reserved word User:. Amazon S3 file: {data}, line 11"
    )


def test_llama_and_claude_train_in_their_region(service: Service) -> None:
    """Models that are customized elsewhere are customized there, each on its own format."""
    bucket = {"Bucket": service.name("west")}
    service.s3.create_bucket(**bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    lines = [{"prompt": question, "completion": answer} for question, answer in service.questions(100)]
    turns = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in service.questions(40)
    ]
    elsewhere = service.local.client("bedrock", region="us-west-2")
    for model, records in (
        ("meta.llama3-1-8b-instruct-v1:0:128k", lines),
        ("anthropic.claude-3-haiku-20240307-v1:0:200k", turns),
    ):
        body = "".join(json.dumps(record) + "\n" for record in records).encode()
        service.s3.put_object(**bucket, Key="elsewhere.jsonl", Body=body)
        data, out = ({"s3Uri": f"s3://{bucket['Bucket']}/{key}"} for key in ("elsewhere.jsonl", "out"))
        request = service.request(baseModelIdentifier=model, trainingDataConfig=data, outputDataConfig=out)
        arn = elsewhere.create_model_customization_job(**request)["jobArn"]
        while (job := elsewhere.get_model_customization_job(jobIdentifier=arn))["status"] == "InProgress":
            pass
        assert job["status"] == "Completed", job
    elsewhere.close()
