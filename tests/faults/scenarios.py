"""The faults, and an Airflow reduced to what matters here: three tries, Clear, and a person who ends a task."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from airflow_bedrock.local import LocalBedrock
from scripts.training_data import record
from scripts.until import until
from tests.faults import worker
from tests.faults.gate import CREATE, GET, Answer, Exchange, Gate, error, failed_after_accept, lost, once, throttled

TRIES = 1 + worker.RETRIES
PACKAGES = ("ours", "upstream")
_ZERO = "The number of scheduled customization jobs exceeds the quota of 0."
JOB_SECONDS = 60.0
_SECONDS = 300.0  # after which a worker that should have come to some point has not

# Workers are forked from a server that has imported Airflow once; each is a process of its own, and is really killed.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.faults.preloaded"])


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario, counted on the service's side.

    :param paid: jobs that the service accepted.
    :param running: jobs that still run, and are billed, after the task has ended.
    :param end: the task's last state.
    """

    paid: int
    running: int
    end: str


class Task:
    """One task instance of one package, with a service and a gate of its own.

    The service's clock stands still: a job runs until a try waits for it, and then ends.

    :param endless: no job ends by itself.
    """

    def __init__(self, package: str, local: LocalBedrock, gate: Gate, home: Path, *, endless: bool = False) -> None:
        self.package, self.local, self.gate, self._endless = package, local, gate, endless
        self.prefix = f"fault-{uuid.uuid4().hex[:8]}"
        self.arguments: dict[str, Any] = {
            "job_name": self.prefix,
            "custom_model_name": self.prefix,
            "role_arn": local.role_arn,
            "base_model_id": "amazon.nova-micro-v1:0:128k",
            "training_data_uri": self._put(_records()),
            "output_data_uri": f"s3://{local.bucket}/{self.prefix}/output",
            "hyperparameters": {"epochCount": "1"},
            "waiter_delay": 0.1,
            "waiter_max_attempts": 3000,
        }
        environment = {name: value.replace(local.endpoint_url, gate.url) for name, value in local.environment().items()}
        environment["AWS_MAX_ATTEMPTS"] = "2"  # the client's own retries come soon to their end
        self._try = worker.Try(package, self.arguments, environment, home, number=0)
        self.end = "running"
        self._tries = 0
        self.state("running")

    def state(self, state: str) -> None:
        """Set the task instance's state, which a worker can ask for."""
        self._try.state.write_text(state)

    def start(self, **changes: Any) -> BaseProcess:
        """Start the next try."""
        self.end = "running"
        self._tries += 1
        self._try = replace(self._try, number=self._try.number + 1)
        return self._start(**changes)

    def clear(self, *, recognised: bool = True) -> None:
        """Clear the task, as a person does in the UI: the tries begin anew. Not every Airflow raises max_tries then."""
        if recognised:
            self._try = replace(self._try, ask=self._try.number + worker.RETRIES)
        self._tries = 0

    def become(self, *, tried: int = 0, **who: Any) -> None:
        """Go on as another task instance: of another run, partition or map index.

        :param tried: so many tries it has had before it was cleared.
        """
        self._try = replace(self._try, number=tried, ask=tried + worker.RETRIES, **who)
        self._tries = 0

    def ours(self, **arguments: Any) -> None:
        """Give arguments that only this package's operator has."""
        if self.package == "ours":
            self.arguments.update(arguments)

    def lose_the_worker(self) -> None:
        """Let a worker make a job, and be killed while it waits."""
        before = len(self.jobs())
        process = self.start()
        until(lambda: len(self.jobs()) > before, "a job is made")
        with self.gate.rule(GET, self.gate.hold_before):
            _kill(self, process)

    def mark_failed(self, process: BaseProcess) -> None:
        """Mark the task failed, as a person does; Airflow sends its worker SIGTERM, and kills it seconds later."""
        self.state("failed")
        process.terminate()
        deadline = time.monotonic() + 3
        while self.outcome().running and time.monotonic() < deadline:
            time.sleep(0.1)
        process.kill()
        process.join()
        self.gate.forget_polls()  # which were its own: nobody waits by them any more
        self.end = "failed"

    def until_it_waits(self) -> None:
        """Wait until the try that was started last waits for a job."""
        until(lambda: self.gate.polls > 1, "the try waits for a job")

    def time_out(self, process: BaseProcess) -> None:
        """Let execution_timeout strike a try, and let the tries that are left take their course."""
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGALRM)  # by which Airflow's own timeout strikes
        process.join(_SECONDS)
        self.gate.open()
        self.finish(process)

    def exit_code(self, process: BaseProcess) -> int | None:
        """Return how a try ended; the jobs end when it waits for one."""
        deadline = time.monotonic() + _SECONDS
        while process.is_alive():
            process.join(0.05)
            if self.gate.polls > 1 and not self._endless:
                self.end_jobs()
            if time.monotonic() > deadline:
                process.kill()
                process.join()
                raise TimeoutError("a worker did not end")
        return process.exitcode

    def end_jobs(self) -> None:
        """Let the time pass in which all jobs end that run."""
        self.local.clock.advance(2 * JOB_SECONDS)

    def adopted(self) -> bool:
        """Whether a second task instance has said on the job that it waits, where it is one that does."""
        client = self.local.client("bedrock")
        tags = client.list_tags_for_resource(resourceARN=self.jobs()[0]["jobArn"])["tags"]
        client.close()
        return self.package != "ours" or sum("/waiter/" in tag["key"] for tag in tags) > 1

    def upload(self, uri: str, *, parts: bool = False, versioned: bool = False) -> None:
        """Upload the same bytes again."""
        client = self.local.client("s3")
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if versioned:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        where: Any = {"Bucket": bucket, "Key": key}
        if parts:
            where["UploadId"] = client.create_multipart_upload(**where)["UploadId"]
            etag = client.upload_part(**where, PartNumber=1, Body=body)["ETag"]
            done: Any = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
            client.complete_multipart_upload(**where, MultipartUpload=done)
        else:
            client.put_object(**where, Body=body, ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/mine")
        if versioned:  # the bucket outlives the scenario: S3 is one for the process
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        client.close()

    def finish(self, process: BaseProcess | None = None, **changes: Any) -> None:
        """Let the tries that are left take their course."""
        while True:
            code = self.exit_code(process or self.start(**changes))
            if code == worker.DEFERRED:
                code = self.exit_code(self._start(resume=True, **changes))
            if code == worker.SUCCESS:
                self.end = "success"
                return
            if code == worker.FATAL or self._tries >= TRIES:
                self.end = "failed"
                return
            process = None

    def start_index(self, index: int, **changes: Any) -> BaseProcess:
        """Start a map index, which asks for a model of its own."""
        self.become(index=index)
        name = f"{self.prefix}-{index}"
        hyperparameters = {"epochCount": str(1 + index)}
        self.arguments |= {"job_name": name, "custom_model_name": name, "hyperparameters": hyperparameters}
        return self.start(**changes)

    def until_held(self, process: BaseProcess) -> None:
        """Wait until the gate holds a call of a try, or the try has ended without one."""
        until(lambda: self.gate.reached.is_set() or not process.is_alive(), "a call is held")

    def resume(self) -> BaseProcess:
        """Take up the trigger's event in a new worker."""
        return self._start(resume=True)

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that the service has accepted."""
        client = self.local.client("bedrock")
        try:
            return [*client.list_model_customization_jobs(nameContains=self.prefix)["modelCustomizationJobSummaries"]]
        finally:
            client.close()

    def wait_for_job(self) -> None:
        """Wait until the service has accepted a job."""
        until(self.jobs, "a job is made")

    def use_broken_data(self) -> None:
        """Give the job data that it will fail on."""
        self._try.arguments["training_data_uri"] = self._put(_records() + "{broken\n")

    def change_request(self) -> None:
        """Let the next try's request differ, as with a template that contains the time."""
        self._try.arguments["hyperparameters"] = {"epochCount": "2"}

    def replace_data(self) -> None:
        """Put other records at the same place."""
        self._put(_records(30), self._try.arguments["training_data_uri"])

    def outcome(self) -> Outcome:
        """Count."""
        jobs = self.jobs()
        return Outcome(len(jobs), sum(job["status"] == "InProgress" for job in jobs), self.end)

    def _start(self, **changes: Any) -> BaseProcess:
        self.gate.forget_polls()
        process = _PROCESSES.Process(target=worker.run, args=(replace(self._try, **changes),))
        process.start()
        return process

    def _put(self, text: str, uri: str | None = None) -> str:
        client = self.local.client("s3")
        uri = uri or f"s3://{self.local.bucket}/{self.prefix}/{uuid.uuid4().hex}.jsonl"
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        client.put_object(Bucket=bucket, Key=key, Body=text.encode())
        client.close()
        return uri


def _records(count: int = 20) -> str:
    return "".join(record(f"item {n}", "yes") for n in range(count))


def _kill(task: Task, process: BaseProcess) -> None:
    task.until_held(process)
    if not task.gate.reached.is_set():
        raise RuntimeError("a worker did not come to where it was to be killed")
    process.kill()
    process.join()


def nothing(task: Task) -> None:
    """Nothing happens."""
    task.finish()


def throttled_for_a_whole_try(task: Task) -> None:
    """The first try is throttled, retries of its client included."""
    with task.gate.rule(CREATE, throttled):
        task.exit_code(task.start())
    task.finish()


def killed_before_the_call(task: Task) -> None:
    """The worker is killed before the request has reached the service."""
    with task.gate.rule(CREATE, task.gate.hold_before):
        _kill(task, task.start())
    task.finish()


def killed_after_accept(task: Task) -> None:
    """The worker is killed after the service has accepted the job, before the response arrives."""
    with task.gate.rule(CREATE, task.gate.hold_after):
        _kill(task, task.start())
    task.finish()


def response_lost(task: Task) -> None:
    """The service accepts the job; every response of the first try is lost."""
    with task.gate.rule(CREATE, lost):
        task.exit_code(task.start())
    task.finish()


def fault_after_accept(task: Task) -> None:
    """The service accepts the job, and answers HTTP 500 for the whole first try."""
    with task.gate.rule(CREATE, failed_after_accept):
        task.exit_code(task.start())
    task.finish()


def killed_while_waiting(task: Task) -> None:
    """The worker is killed while it waits for the job."""
    task.lose_the_worker()
    task.finish()


def killed_while_resuming(task: Task) -> None:
    """The task waited in the triggerer; the worker that takes it up again is killed."""
    if task.exit_code(task.start()) != worker.DEFERRED:
        raise RuntimeError("the task was not deferred")
    with task.gate.rule(GET, task.gate.hold_before):
        _kill(task, task.resume())
    task.finish()


def two_workers_at_once(task: Task) -> None:
    """Airflow runs the same try in two workers, which send their requests at the same moment."""
    both, calls = threading.Barrier(2, timeout=_SECONDS), itertools.count()

    def together(exchange: Exchange) -> Answer | None:
        if next(calls) < 2:
            both.wait()
        return exchange.forward()

    with task.gate.rule(CREATE, together):
        first, second = task.start(), task.start()
        codes = task.exit_code(first), task.exit_code(second)
    task.end = "success" if codes == (worker.SUCCESS, worker.SUCCESS) else "failed"


def cleared_with_nothing_changed(task: Task) -> None:
    """The task is cleared after it has succeeded; request and data are the same."""
    task.finish()
    task.clear()
    task.finish()


def request_changed_between_tries(task: Task) -> None:
    """The worker is killed after the service has accepted the job; the next try's request differs."""
    with task.gate.rule(CREATE, task.gate.hold_after):
        _kill(task, task.start())
    task.change_request()
    task.finish()


def data_replaced_between_tries(task: Task) -> None:
    """The worker is killed while it waits; the data is replaced before the next try."""
    task.lose_the_worker()
    task.replace_data()
    task.finish()


def answer_lost_and_request_changed(task: Task) -> None:
    """Every response of the first try is lost, and the next try's request differs."""
    with task.gate.rule(CREATE, lost):
        task.exit_code(task.start())
    task.change_request()
    task.finish()


def cleared_with_other_data_while_the_job_runs(task: Task) -> None:
    """The worker is killed, the data is replaced, and a person clears the task while the job runs."""
    task.lose_the_worker()
    task.replace_data()
    task.clear()
    task.finish()


def bad_data(task: Task) -> None:
    """A line of the training data is broken; the task has three tries."""
    task.use_broken_data()
    task.finish()


def marked_failed_while_waiting(task: Task) -> None:
    """A person marks the task failed while the job runs."""
    process = task.start()
    task.until_it_waits()
    task.mark_failed(process)


def evicted_while_waiting(task: Task) -> None:
    """Airflow stops the worker, and the task goes on in another one."""
    process = task.start()
    task.until_it_waits()
    process.terminate()
    time.sleep(1)
    process.kill()
    process.join()
    task.finish()


def execution_timeout(task: Task) -> None:
    """The job takes longer than the task's execution_timeout; the task has three tries."""
    process = task.start(timeout=_SECONDS)
    task.until_it_waits()
    task.time_out(process)


def timeout_inside_create(task: Task) -> None:
    """execution_timeout runs out after the service has accepted the job, before the response arrives."""
    with task.gate.rule(CREATE, task.gate.hold_after):
        process = task.start(timeout=_SECONDS)
        task.until_held(process)
        task.time_out(process)


def timeout_in_mapped_tasks(task: Task) -> None:
    """Three mapped tasks run out of execution_timeout in their workers."""
    for index in range(3):
        process = task.start_index(index, timeout=_SECONDS)
        task.until_it_waits()
        task.time_out(process)


def timeout_in_mapped_tasks_in_the_triggerer(task: Task) -> None:
    """Three mapped tasks run out of execution_timeout in the triggerer. Upstream's wait on, until their jobs end."""
    task.arguments |= {"deferrable": True, "execution_timeout": timedelta(seconds=1)}
    for index in range(3):
        process = task.start_index(index)
        # Airflow ends a deferral only where the operator has asked for that; upstream's has not.
        process.join(_SECONDS if task.package == "ours" else 10)
        if process.is_alive():
            task.end_jobs()
        task.finish(process)


def cleared_with_another_request_and_kept(task: Task) -> None:
    """superseded="keep". The request is edited, and the task cleared while its job runs; it waits for no job."""
    task.ours(superseded="keep")
    task.lose_the_worker()
    task.change_request()
    task.clear()
    task.arguments["wait_for_completion"] = False
    task.finish()


def cleared_with_another_request_and_failed(task: Task) -> None:
    """superseded="fail". The request is edited, and the task cleared while its job runs."""
    task.ours(superseded="fail")
    task.lose_the_worker()
    task.change_request()
    task.clear()
    task.finish()


def never_cleared_while_the_job_runs(task: Task) -> None:
    """reuse="never". The task is cleared while its job runs; request and data are the same."""
    task.ours(reuse="never")
    task.lose_the_worker()
    task.clear()
    task.finish()


def cleared_while_the_job_runs(task: Task) -> None:
    """The task is cleared while its job runs; request and data are the same."""
    task.lose_the_worker()
    task.clear()
    task.finish()


def cleared_after_a_failure(task: Task) -> None:
    """The job fails for good, and a person clears the task."""
    task.local.faults.fail_job("training", "The training data is not diverse enough.")
    task.finish()
    task.clear()
    task.finish()


def never_retried_with_other_data(task: Task) -> None:
    """reuse="never". A sibling is cleared, the data replaced, and the worker lost: an automatic retry."""
    task.ours(reuse="never")
    task.lose_the_worker()
    task.replace_data()
    task.finish()


def a_clear_that_cannot_be_recognised(task: Task) -> None:
    """The request is edited, and the running task cleared by an Airflow that does not raise max_tries."""
    task.lose_the_worker()
    task.change_request()
    task.clear(recognised=False)
    task.finish()


def expand_reordered(task: Task) -> None:
    """Two map indexes have succeeded; the list that they expand changes its order, and both are cleared."""
    for cleared, order in enumerate(("12", "21")):
        for index, epochs in enumerate(order):
            task.become(index=index, tried=cleared)
            task.arguments["hyperparameters"] = {"epochCount": epochs}
            task.finish()


def partition_backfilled_again(task: Task) -> None:
    """A partition is backfilled again, which makes a new run."""
    for run in ("backfill-1", "backfill-2"):
        task.become(run=run, partition="2026-01")
        task.finish()


def another_region(task: Task) -> None:
    """The output bucket is in another region than the connection's."""
    client = task.local.client("s3")
    client.create_bucket(Bucket=f"{task.prefix}-eu", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.close()
    task.arguments["output_data_uri"] = f"s3://{task.prefix}-eu/output"
    task.finish()


def another_account(task: Task) -> None:
    """The role is of another account than the connection's."""
    task.arguments["role_arn"] = "arn:aws:iam::210987654321:role/bedrock"
    task.finish()


def answer_lost_job_hidden_and_request_changed(task: Task) -> None:
    """Every response of the first try is lost, the service hides the job for a while, and the request changes."""
    task.local.faults.hide_new_jobs(6)
    with task.gate.rule(CREATE, lost):
        task.exit_code(task.start())
    task.change_request()
    task.exit_code(task.start())
    task.local.clock.advance(6)
    task.finish()


def head_denied_once(task: Task) -> None:
    """The worker is lost, and S3 denies the next try access to the data."""
    task.lose_the_worker()
    with task.gate.rule(("HEAD", f"/{task.local.bucket}/"), lambda _: error(403, "AccessDenied")):
        task.finish()


def head_denied_for_good(task: Task) -> None:
    """S3 denies every access to the data."""
    with task.gate.rule(("HEAD", f"/{task.local.bucket}/"), lambda _: error(403, "AccessDenied")):
        task.finish()


def head_denied_and_content_ignored(task: Task) -> None:
    """S3 denies every access to the data; content="ignore"."""
    task.ours(content="ignore")
    with task.gate.rule(("HEAD", f"/{task.local.bucket}/"), lambda _: error(403, "AccessDenied")):
        task.finish()


def model_not_found_once(task: Task) -> None:
    """The task is cleared after it has succeeded, and GetCustomModel says once that there is no such model."""
    task.finish()
    task.clear()
    with task.gate.rule(("GET", "/custom-models/"), once(error(404, "ResourceNotFoundException"))):
        task.finish()


def model_arn_missing_once(task: Task) -> None:
    """The task is cleared after it has succeeded, and GetModelCustomizationJob once leaves the model's ARN out."""
    task.finish()
    task.clear()
    left = [True]

    def rule(exchange: Exchange) -> Answer:
        status, headers, content = exchange.forward()
        if left and status == 200:
            left.clear()
            said = json.loads(content)
            said.pop("outputModelArn", None)
            content = json.dumps(said).encode()
        return status, headers, content

    with task.gate.rule(GET, rule):
        task.finish()


def same_bytes_encrypted_and_in_parts(task: Task) -> None:
    """The task is cleared after the same bytes were uploaded again: with a KMS key, or in parts as a new version."""
    task.finish()
    task.upload(task.arguments["training_data_uri"])
    task.clear()
    task.finish()
    task.upload(task.arguments["training_data_uri"], parts=True, versioned=True)
    task.clear()
    task.finish()


def one_number_in_two_spellings(task: Task) -> None:
    """The task is cleared after 0.00001 was written as 1e-5, and preflight switched off."""
    task.arguments["hyperparameters"] = {"epochCount": "1", "learningRate": "0.00001"}
    task.finish()
    task.arguments["hyperparameters"] = {"epochCount": "1", "learningRate": "1e-5"}
    task.ours(preflight=False)
    task.clear()
    task.finish()


def timeout_before_the_job_is_known(task: Task) -> None:
    """The worker is lost, and execution_timeout runs out while the next try reads what the first has made."""
    task.lose_the_worker()
    left = [True]
    with task.gate.rule(
        GET, lambda exchange: task.gate.hold_before(exchange) if left and left.pop() else exchange.forward()
    ):
        process = task.start(timeout=_SECONDS)
        task.until_held(process)
        task.time_out(process)


def two_runs_share_and_one_is_marked_failed(task: Task) -> None:
    """reuse="dag". Two runs wait for one job; the one that made it is marked failed."""
    second = _two_runs(task)
    task.finish(second)


def two_runs_share_and_both_are_marked_failed(task: Task) -> None:
    """reuse="dag". Two runs wait for one job, and both are marked failed."""
    task.mark_failed(_two_runs(task))


def _two_runs(task: Task) -> BaseProcess:
    task.ours(reuse="dag")
    first = task.start()
    task.wait_for_job()
    task.become(run="run-2")
    second = task.start()
    until(task.adopted, "the job is adopted")
    task.become(run="run")
    task.mark_failed(first)
    task.become(run="run-2")
    return second


def adopted_job_is_stopped(task: Task) -> None:
    """reuse="dag". A person stops the job that another run has made and this one waits for."""
    task.ours(reuse="dag")
    task.lose_the_worker()
    task.become(run="run-2")
    process = task.start()
    until(task.adopted, "the job is adopted")
    client = task.local.client("bedrock")
    client.stop_model_customization_job(jobIdentifier=task.jobs()[0]["jobArn"])
    client.close()
    task.finish(process)


def sensor_marked_failed(task: Task) -> None:
    """An operator with wait_for_completion=False, and a sensor; the run is marked failed while the sensor waits."""
    task.arguments["wait_for_completion"] = False
    task.finish()
    sensor = task.start(sensor=task.jobs()[0]["jobArn"])
    task.until_it_waits()
    task.mark_failed(sensor)


def metrics_of_another_form(task: Task) -> None:
    """The job has completed, and its metrics files have another header, empty cells and a BOM."""
    other = 200, {"Content-Type": "text/csv"}, "\ufeffstep;loss\n1.0,\n".encode()
    with task.gate.rule(("GET", f"/{task.local.bucket}/{task.prefix}/output/"), lambda _: other):
        task.finish()


def quota_of_zero(task: Task) -> None:
    """The account's quota of jobs is zero."""
    task.local.faults.fail("CreateModelCustomizationJob", "ServiceQuotaExceededException", message=_ZERO, times=None)
    task.finish()


def failure_that_a_retry_may_fix(task: Task) -> None:
    """The job fails, and the service says to try again."""
    task.local.faults.fail_job("training", "An internal error occurred. Please try again later.")
    task.finish()


def failure_that_only_speaks_of_trying_again(task: Task) -> None:
    """The job fails, and the service says to try again with a lower learning rate."""
    task.local.faults.fail_job(
        "training", "The loss diverged. Please try again with a lower learning rate.", times=None
    )
    task.finish()


def credentials_expired(task: Task) -> None:
    """The credentials have expired for the whole first try."""
    with task.gate.rule(CREATE, lambda _: error(403, "ExpiredTokenException")):
        task.exit_code(task.start())
    task.finish()


@dataclass(frozen=True)
class Scenario:
    """A fault, and what comes of it.

    :param endless: no job ends by itself.
    :param paid: how many jobs are paid for.
    :param left: how many run on, since the task asks for that.
    :param end: the task's last state.
    """

    play: Callable[[Task], None]
    endless: bool = False
    deferrable: bool = False
    paid: int = 1
    left: int = 0
    end: str = "success"

    @property
    def name(self) -> str:
        """What happens, in a sentence."""
        return (self.play.__doc__ or "").strip()


SCENARIOS = (
    Scenario(nothing),
    Scenario(throttled_for_a_whole_try),
    Scenario(killed_before_the_call),
    Scenario(killed_after_accept),
    Scenario(response_lost),
    Scenario(fault_after_accept),
    Scenario(killed_while_waiting),
    Scenario(killed_while_resuming, deferrable=True),
    Scenario(evicted_while_waiting),
    Scenario(two_workers_at_once),
    Scenario(cleared_with_nothing_changed),
    Scenario(request_changed_between_tries),
    Scenario(data_replaced_between_tries),
    Scenario(answer_lost_and_request_changed),
    Scenario(cleared_with_other_data_while_the_job_runs, paid=2),
    Scenario(bad_data, end="failed"),
    Scenario(marked_failed_while_waiting, endless=True, end="failed"),
    Scenario(execution_timeout, endless=True, end="failed"),
    Scenario(timeout_inside_create, endless=True, end="failed"),
    Scenario(timeout_in_mapped_tasks, endless=True, paid=3, end="failed"),
    Scenario(timeout_in_mapped_tasks_in_the_triggerer, endless=True, paid=3, end="failed"),
    Scenario(cleared_with_another_request_and_kept, endless=True, paid=2, left=2),
    Scenario(cleared_with_another_request_and_failed, endless=True, left=1, end="failed"),
    Scenario(never_cleared_while_the_job_runs, paid=2),
    Scenario(cleared_while_the_job_runs),
    Scenario(cleared_after_a_failure, paid=2),
    Scenario(never_retried_with_other_data),
    Scenario(a_clear_that_cannot_be_recognised),
    Scenario(expand_reordered, paid=2),
    Scenario(partition_backfilled_again),
    Scenario(another_region, paid=0, end="failed"),
    Scenario(another_account, paid=0, end="failed"),
    Scenario(answer_lost_job_hidden_and_request_changed),
    Scenario(head_denied_once),
    Scenario(head_denied_for_good, paid=0, end="failed"),
    Scenario(head_denied_and_content_ignored),
    Scenario(model_not_found_once),
    Scenario(model_arn_missing_once),
    Scenario(same_bytes_encrypted_and_in_parts),
    Scenario(one_number_in_two_spellings),
    Scenario(timeout_before_the_job_is_known, endless=True, end="failed"),
    Scenario(two_runs_share_and_one_is_marked_failed),
    Scenario(two_runs_share_and_both_are_marked_failed, endless=True, end="failed"),
    Scenario(adopted_job_is_stopped, paid=2),
    Scenario(sensor_marked_failed, endless=True, end="failed"),
    Scenario(metrics_of_another_form),
    Scenario(quota_of_zero, paid=0, end="failed"),
    Scenario(failure_that_a_retry_may_fix, paid=2),
    Scenario(failure_that_only_speaks_of_trying_again, end="failed"),
    Scenario(credentials_expired),
)


def play(scenario: Scenario, package: str) -> Outcome:
    """Play a scenario with an operator of the package, and count."""
    with _service() as (local, gate, home):
        task = Task(package, local, gate, home, endless=scenario.endless)
        if scenario.deferrable:
            task.arguments["deferrable"] = True
        scenario.play(task)
        return task.outcome()


@contextmanager
def _service() -> Iterator[tuple[LocalBedrock, Gate, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="airflow-bedrock-faults-") as home,
        LocalBedrock(job_seconds=JOB_SECONDS, clock="manual") as local,
        Gate(local.endpoint_url) as gate,
    ):
        yield local, gate, Path(home)
