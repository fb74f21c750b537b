"""Jobs that nobody waits for: found by their tags, stopped by the operator and the command, on Local Bedrock."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner
from botocore.exceptions import ClientError

from airflow_bedrock.cli import main
from airflow_bedrock.customization.identity import TaskKey, identify
from airflow_bedrock.customization.tags import automatic_tags
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import resources
from airflow_bedrock.jobs.orphans import running_jobs
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.submission import Submission
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCustomizationOperator, BedrockStopOrphanedJobsOperator
from scripts.training_data import record

pytestmark = pytest.mark.local_bedrock(clock="manual")
ENDED, ALIVE, DONE, GONE = "manual__2026-01-01T00:00:00+00:00", "alive", "done", "gone"


def airflow_says(dag_id: str, run_id: str) -> str:
    """What Airflow knows: a run that has failed, one that goes on, one that has succeeded, and none besides."""
    assert dag_id == "dag"
    return {ENDED: "failed", ALIVE: "running", DONE: "success"}[run_id]


def state_of(waiter: Waiter) -> str:
    return airflow_says(waiter.dag_id, waiter.run_id)


class Jobs:
    """Makes running jobs on Local Bedrock."""

    def __init__(self, local: LocalBedrock) -> None:
        self.local, self.bedrock = local, local.client("bedrock")
        s3 = local.client("s3")
        s3.put_object(Bucket=local.bucket, Key="train.jsonl", Body=record() * 20)
        s3.close()

    def add(self, name: str, tags: dict[str, str], *, by_hand: bool = False) -> str:
        token = {} if by_hand else {"clientRequestToken": f"family-who-ask-{name.replace('-', '')}-1"}
        arn: str = self.bedrock.create_model_customization_job(
            jobName=name,
            customModelName=name,
            roleArn=self.local.role_arn,
            baseModelIdentifier="amazon.nova-micro-v1:0:128k",
            trainingDataConfig={"s3Uri": f"s3://{self.local.bucket}/train.jsonl"},
            outputDataConfig={"s3Uri": f"s3://{self.local.bucket}/output"},
            hyperParameters={},
            jobTags=[{"key": key, "value": value} for key, value in tags.items()],
            **token,
        )["jobArn"]
        return arn

    def asked(self, name: str, *runs: str, environment: str = "ours", waits: bool = True, map_index: int = -1) -> str:
        """Add a job that a task has asked for in these runs."""
        tags: dict[str, str] = {}
        for run in runs:
            task_id = "t" if map_index < 0 else "mapped"
            task_key = TaskKey(dag_id="dag", task_id=task_id, run_id=run, map_index=map_index, environment=environment)
            waiting = {tag["key"]: tag["value"] for tag in Waiter.of(task_key, waits=waits).tags(task_key)}
            tags = automatic_tags(task_key, "1") | tags | waiting
        return self.add(name, tags)

    def status(self, arn: str) -> str:
        status: str = self.bedrock.get_model_customization_job(jobIdentifier=arn)["status"]
        return status


@pytest.fixture
def jobs(local_bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("AIRFLOW__BEDROCK__ENVIRONMENT", "ours")
    for name, value in local_bedrock.environment().items():
        monkeypatch.setenv(name, value)
    jobs = Jobs(local_bedrock)
    yield jobs
    jobs.bedrock.close()


@pytest.fixture
def hook(jobs: Jobs) -> Iterator[BedrockHook]:
    hook = BedrockHook(aws_conn_id=None)
    yield hook
    hook.conn.close()


def test_which_jobs_are_orphaned(jobs: Jobs, hook: BedrockHook) -> None:
    """All who may wait have ended; doubtful jobs are kept, and those of others are not even reported."""
    ended = jobs.asked("ended", ENDED)
    alive = jobs.asked("alive", ENDED, ALIVE)
    submitted = jobs.asked("submitted", DONE, waits=False)
    doubt = jobs.asked("doubt", ENDED, GONE)
    unreadable = jobs.add(
        "unreadable", {"airflow-bedrock/environment": "ours", "airflow-bedrock/waiter/x": "a later version"}
    )
    nobody = jobs.add("nobody", {"airflow-bedrock/environment": "ours"})
    left = jobs.add("left", {"airflow-bedrock/environment": "ours", "airflow-bedrock/waiter/x": "left"})
    jobs.asked("theirs", ENDED, environment="theirs")
    jobs.add("by-hand", {})
    over = jobs.asked("over", ENDED)
    jobs.bedrock.stop_model_customization_job(jobIdentifier=over)

    found = {one.job.arn: one.kept for one in running_jobs(hook, "ours", state_of)}
    assert found.keys() == {ended, alive, submitted, doubt, unreadable, nobody, left}
    assert found[ended] is None
    assert found[submitted] is None, "its run has ended, and nothing in it can wait for it any more"
    assert found[left] is None, "who waited for it waits for another one since"
    assert "dag.t in run alive may wait for it; its state is running" in str(found[alive])
    assert "could not be read" in str(found[doubt])
    assert "cannot read" in str(found[unreadable])
    assert "no tag" in str(found[nobody])


def test_a_job_with_copied_tags_is_kept(jobs: Jobs, hook: BedrockHook) -> None:
    """A person has made it by hand from the request of another: nobody's task has ended with it."""
    ours = jobs.asked("ours", ENDED)
    tags = hook.tags_of(ours)
    copied = jobs.add("copied", tags, by_hand=True)
    found = {one.job.arn: one.kept for one in running_jobs(hook, "ours", state_of)}
    assert found[ours] is None
    assert "its tags were copied from another job" in str(found[copied])
    jobs.local.faults.fail("GetModelCustomizationJob", "AccessDeniedException", times=None)
    found = {one.job.arn: one.kept for one in running_jobs(hook, "ours", state_of)}
    assert "its token, which says who made it, could not be read" in str(found[ours])


def test_a_job_whose_response_was_lost_is_found(jobs: Jobs, hook: BedrockHook) -> None:
    """No retry is left to adopt it: the tags are in Create's request, so that the job has them from its start."""
    jobs.local.faults.drop("CreateModelCustomizationJob", times=None)
    ti = SimpleNamespace(dag_id="dag", task_id="t", run_id=ENDED, map_index=-1, max_tries=0, try_number=1)
    task: Any = BedrockModelCustomizationOperator(
        task_id="t",
        job_name="lost",
        custom_model_name="lost",
        role_arn=jobs.local.role_arn,
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri=f"s3://{jobs.local.bucket}/train.jsonl",
        output_data_uri=f"s3://{jobs.local.bucket}/output",
        aws_conn_id=None,
        botocore_config={"retries": {"total_max_attempts": 1}},
    )
    with pytest.raises(BedrockError, match="did not confirm the request for job lost"):
        task.execute({"ti": ti, "dag_run": SimpleNamespace(), "outlet_events": {}})
    [one] = running_jobs(hook, "ours", state_of)
    assert one.job.name.startswith("lost-")
    assert one.kept is None


def test_every_declared_kind_is_searched(
    jobs: Jobs, hook: BedrockHook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], airflow_url: str
) -> None:
    """A kind costs its declaration, one file in the engine's room: it is made once, found by its tags, and stopped."""
    monkeypatch.setenv("AIRFLOW_API_TOKEN", "secret")
    [batch] = [kind for kind in resources.declared() if kind.noun == "batch job"]
    service = Service(batch, hook)
    bucket = f"s3://{jobs.local.bucket}"
    request = {
        "jobName": "nightly",
        "roleArn": jobs.local.role_arn,
        "modelId": "amazon.nova-micro-v1:0",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"{bucket}/train.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{bucket}/output/"}},
    }
    made = set()
    for retry in range(2):
        task_key = TaskKey(
            dag_id="dag", task_id="t", run_id=ENDED, environment="ours", try_number=1 + retry, ask=2, retries=2
        )
        asked = {**request, "tags": [{"key": k, "value": v} for k, v in automatic_tags(task_key, "1").items()]}
        identity = identify(asked, [], task_key, "run", model_name=None)
        waiter = Waiter.of(task_key, waits=True)
        made.add(Submission(service=service, request=asked, identity=identity, waiter=waiter).find_or_create().arn)
    [arn] = made
    job = jobs.asked("ended", ENDED)

    assert {one.job.arn: one.kept for one in running_jobs(hook, "ours", state_of)} == {arn: None, job: None}
    assert main(["jobs", "--orphans", "--stop", "--airflow-url", airflow_url]) == 0
    printed = capsys.readouterr().out
    assert f"Batch job {arn} is being stopped; the records answered so far are billed." in printed
    assert f"Job {job} is being stopped" in printed


def test_a_kind_that_cannot_be_listed_hides_no_other(jobs: Jobs, hook: BedrockHook) -> None:
    """What else is found comes first; then the error."""
    arn = jobs.asked("ended", ENDED)
    jobs.local.faults.fail("ListModelInvocationJobs", "AccessDeniedException", times=None)
    found = running_jobs(hook, "ours", state_of)
    assert next(found).job.arn == arn
    with pytest.raises(ClientError, match="AccessDenied"):
        next(found)


def test_tags_that_cannot_be_read_keep_a_job(jobs: Jobs, hook: BedrockHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said, whosever it is."""
    arn = jobs.asked("ended", ENDED)

    def denied(arn: str) -> dict[str, str]:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "ListTagsForResource")

    monkeypatch.setattr(hook, "tags_of", denied)
    (one,) = running_jobs(hook, "ours", state_of)
    assert one.job.arn == arn
    assert "AccessDenied" in str(one.kept)


class Supervisor:
    """Answers a task's questions, as Airflow's supervisor does."""

    def send(self, msg: Any) -> Any:
        if type(msg).__name__ == "GetDagRunState":
            return SimpleNamespace(state=airflow_says(msg.dag_id, msg.run_id))
        if type(msg).__name__ == "GetTaskStates":
            (run,), (task,) = msg.run_ids, msg.task_ids
            key = task if msg.map_index < 0 else f"{task}_{msg.map_index}"
            return SimpleNamespace(task_states={run: {key: airflow_says(msg.dag_id, run)}})
        return None


@pytest.mark.parametrize("how", [{}, {"waits": False}, {"map_index": 0}])
def test_the_operator(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]) -> None:
    """It stops what is orphaned and returns what became of it."""
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)
    ended, alive, doubt = (jobs.asked(run[:5], run, **how) for run in (ENDED, ALIVE, GONE))
    operator: Any = BedrockStopOrphanedJobsOperator(task_id="stop", aws_conn_id=None)
    (found,) = operator.execute({})
    operator.hook.conn.close()
    assert found["job_arn"] == ended
    assert "is being stopped" in found["outcome"]
    assert jobs.status(ended) == "Stopping"
    assert jobs.status(alive) == jobs.status(doubt) == "InProgress"


@pytest.fixture
def airflow_url() -> Iterator[str]:
    """An API server that knows the tasks t and mapped[0] and the DAG runs, for who has the token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            runs = {
                run: f"/api/v2/dags/dag/dagRuns/{run}" for run in (ENDED.replace(":", "%3A").replace("+", "%2B"), ALIVE)
            }
            states = {
                path + rest: "running" if run == ALIVE else "failed"
                for run, path in runs.items()
                for rest in ("", "/taskInstances/t", "/taskInstances/mapped/0")
            }
            states["/api/v2/dags?limit=1"] = ""
            trusted = self.headers["Authorization"] == "Bearer secret"
            self.send_response((200 if self.path in states else 404) if trusted else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"state": states.get(self.path)}).encode())

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("how", [{}, {"waits": False}, {"map_index": 0}])
def test_the_command(
    jobs: Jobs,
    airflow_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: dict[str, Any],
) -> None:
    """It lists, and stops only where asked; it asks Airflow's REST API."""
    ended, alive, doubt = (jobs.asked(run[:5], run, **how) for run in (ENDED, ALIVE, GONE))
    command = ["jobs", "--orphans", "--airflow-url", airflow_url]

    assert main([*command, "--stop"]) == 1  # without a token, nothing can be read
    assert "which jobs are orphaned: Client error '401 Unauthorized'" in capsys.readouterr().err
    assert main(["jobs", "--orphans", "--stop", "--airflow-url", "http://127.0.0.1:1"]) == 1
    assert "Set --airflow-url to the URL of its API server" in capsys.readouterr().err
    assert jobs.status(ended) == "InProgress"

    monkeypatch.setenv("AIRFLOW_API_TOKEN", "secret")
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "3 running, 1 orphaned in environment 'ours'" in printed.out
    assert ended in printed.out
    assert alive not in printed.out
    assert f"Job {doubt} is kept" in printed.err
    assert jobs.status(ended) == "InProgress"

    assert main([*command, "--stop", "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert [(one["arn"], one["orphaned"]) for one in json.loads(printed.out)] == [(ended, True)]
    assert f"Job {ended} is being stopped" in printed.err
    assert jobs.status(ended) == "Stopping"
    assert jobs.status(alive) == jobs.status(doubt) == "InProgress"


def test_the_job_of_a_deleted_task_instance_is_orphaned(
    jobs: Jobs, airflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run goes on, in which no try of it follows."""
    monkeypatch.setenv("AIRFLOW_API_TOKEN", "secret")
    arn = jobs.asked("deleted", ALIVE, map_index=9)
    assert main(["jobs", "--orphans", "--stop", "--airflow-url", airflow_url]) == 0
    assert jobs.status(arn) == "Stopping"


def test_all_running_jobs_are_listed(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --orphans; and nothing but orphans can be stopped."""
    arn = jobs.asked("ended", ENDED)
    assert main(["jobs", "--airflow-url", "http://127.0.0.1:1"]) == 0
    printed = capsys.readouterr().out
    assert f"{arn}  20" in printed
    assert "  nothing: " in printed
    with pytest.raises(SystemExit):
        main(["jobs", "--stop"])


def test_jobs_that_cannot_be_listed(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says so, fails, and does not say that none runs."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert main(["jobs"]) == 1
    printed = capsys.readouterr()
    assert "Could not list" in printed.err
    assert "at least 0 running, at least 0 orphaned in environment" in printed.out
