"""The faults of everything that is paid for but customization jobs, in process, counted on Local Bedrock's side.

Its clock stands still until the task polls: then something happens, or time passes. A worker that is killed is a
BaseException, which nothing of the package's handles.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import botocore.waiter
import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from botocore import xform_name
from botocore.client import BaseClient

from airflow_bedrock.compat import AirflowException, AirflowFailException, AirflowTaskTimeout, TaskDeferred
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import on_kill, own_jobs, stopping, submission, waiting
from airflow_bedrock.jobs.orphans import running_jobs
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators.copy_job import BedrockModelCopyOperator
from airflow_bedrock.operators.customization import BedrockModelCustomizationOperator
from airflow_bedrock.operators.deployment import BedrockCustomModelDeploymentOperator
from airflow_bedrock.operators.import_job import BedrockCustomModelOperator, BedrockModelImportOperator
from airflow_bedrock.operators.provisioned_throughput import BedrockProvisionedModelThroughputOperator
from scripts.training_data import record
from tests.ample_quotas import AMPLE
from tests.state_store import Store

RETRIES = 2
ENVIRONMENT = "faults"
_SECONDS = 60  # in which what is made on Local Bedrock is done; time passes in steps of a little more
_DAY = 24 * 60 * 60.0
_numbers = itertools.count()
QUICK = {"retries": {"total_max_attempts": 1}}


class KilledError(BaseException):
    """The worker's process ends at once."""


class EndlessError(BaseException):
    """A task waits for what does not come."""


class World:
    """A Local Bedrock, and what is there before a task asks."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._clients: dict[str, Any] = {}
        self.local = self._stack.enter_context(
            LocalBedrock(clock="manual", job_seconds=_SECONDS, deployment_seconds=_SECONDS, quotas=AMPLE)
        )
        self.models = [self._train(name) for name in ("one", "other")]
        self.folders = [self._put(name) for name in ("one", "other")]

    def close(self) -> None:
        """End it."""
        self._stack.close()

    def pass_time(self) -> None:
        """Let all that has begun be done."""
        self.local.clock.advance(_SECONDS + 1)

    @contextmanager
    def client(self, region: str = "us-east-1") -> Iterator[Any]:
        """Yield the client of a region, which is closed with this world."""
        if region not in self._clients:
            self._clients[region] = self.local.client("bedrock", region)
        yield self._clients[region]

    def _train(self, name: str) -> str:
        with closing(self.local.client("s3")) as s3, self.client() as bedrock:
            s3.put_object(Bucket=self.local.bucket, Key="train.jsonl", Body=record(name, name) * 20)
            arn = bedrock.create_model_customization_job(
                jobName=name,
                customModelName=name,
                roleArn=self.local.role_arn,
                baseModelIdentifier="amazon.nova-micro-v1:0:128k",
                trainingDataConfig={"s3Uri": f"s3://{self.local.bucket}/train.jsonl"},
                outputDataConfig={"s3Uri": f"s3://{self.local.bucket}/output"},
                hyperParameters={"epochCount": "1"},
            )["jobArn"]
            self.pass_time()
            made: str = bedrock.get_model_customization_job(jobIdentifier=arn)["outputModelArn"]
            return made

    def _put(self, name: str) -> str:
        return put_model(self.local, name)


def put_model(local: LocalBedrock, name: str) -> str:
    """Write the files of a model that was trained elsewhere; return their folder."""
    config = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}).encode()
    files = {"config.json": config, "tokenizer.json": b"{}", "tokenizer_config.json": b"{}"}
    header = json.dumps({"w": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    files["model.safetensors"] = len(header).to_bytes(8, "little") + header + name[:2].encode()
    with closing(local.client("s3")) as s3:
        for file, content in files.items():
            s3.put_object(Bucket=local.bucket, Key=f"{name}/{file}", Body=content)
    return f"s3://{local.bucket}/{name}"


@dataclass(frozen=True)
class Kind:
    """A kind of paid thing, and how the tests ask for it.

    :param word: what the table calls it.
    :param create: the operation that makes one.
    :param make: the operator of a task, by the world, a name, and what is to differ.
    :param made: the ARNs of all that were made under a name and exist.
    :param stops: whether it can be stopped.
    :param deletes: the operation that deletes it.
    :param identifier: the member of that operation's request, and of the one that changes it, that says which.
    """

    word: str
    create: str
    make: Callable[..., Any]
    made: Callable[[World, str], list[str]]
    stops: bool = False
    deletes: str | None = None
    identifier: str = "provisionedModelId"

    def delete(self, bedrock: Any, arn: str) -> None:
        """Delete one."""
        getattr(bedrock, xform_name(str(self.deletes)))(**{self.identifier: arn})


def _throughput(world: World, name: str, *, other: bool, operator: Any = None, **more: Any) -> Any:
    kind = operator or BedrockProvisionedModelThroughputOperator
    return kind(
        task_id="ask", model_units=1, provisioned_model_name=name, model_id=world.models[other], waiter_delay=1, **more
    )


def _upstream(world: World, name: str, *, other: bool, **more: Any) -> Any:
    from airflow.providers.amazon.aws.operators.bedrock import BedrockCreateProvisionedModelThroughputOperator

    return _throughput(world, name, other=other, operator=BedrockCreateProvisionedModelThroughputOperator, **more)


def _copy(world: World, name: str, *, other: bool, **more: Any) -> Any:
    return BedrockModelCopyOperator(
        task_id="ask",
        source_model_arn=world.models[other],
        target_model_name=name,
        waiter_delay=1,
        **{"region_name": "us-west-2", **more},
    )


def _import(world: World, name: str, *, other: bool, **more: Any) -> Any:
    return BedrockModelImportOperator(
        task_id="ask",
        job_name=name,
        imported_model_name=name,
        role_arn=world.local.role_arn,
        waiter_delay=1,
        **{"model_data_uri": world.folders[other], **more},
    )


def _model(world: World, name: str, *, other: bool, **more: Any) -> Any:
    return BedrockCustomModelOperator(
        task_id="ask",
        model_name=name,
        model_data_uri=world.folders[other],
        role_arn=world.local.role_arn,
        waiter_delay=1,
        **more,
    )


def _deployment(world: World, name: str, *, other: bool, **more: Any) -> Any:
    return BedrockCustomModelDeploymentOperator(
        task_id="ask", model_arn=world.models[other], deployment_name=name, waiter_delay=1, **more
    )


def _job(world: World, name: str, *, other: bool, **more: Any) -> Any:
    return BedrockModelCustomizationOperator(
        task_id="ask",
        job_name=name,
        custom_model_name=name,
        role_arn=world.local.role_arn,
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri=f"s3://{world.local.bucket}/train.jsonl",
        output_data_uri=f"s3://{world.local.bucket}/output",
        hyperparameters={"epochCount": "2" if other else "1"},
        waiter_delay=1,
        **more,
    )


def _lists(operation: str, member: str, arn: str, region: str = "us-east-1", filtered: str = "nameContains") -> Any:
    def made(world: World, name: str) -> list[str]:
        with world.client(region) as bedrock:
            found = getattr(bedrock, operation)(**{filtered: name})[member]
            return [one[arn] for one in found if one.get("status") not in ("Stopped", "Failed")]

    return made


_throughputs = _lists("list_provisioned_model_throughputs", "provisionedModelSummaries", "provisionedModelArn")
THROUGHPUT = Kind(
    "provisioned throughput",
    "CreateProvisionedModelThroughput",
    _throughput,
    _throughputs,
    stops=True,
    deletes="DeleteProvisionedModelThroughput",
)
UPSTREAM = Kind(
    "provisioned throughput (upstream)",
    "CreateProvisionedModelThroughput",
    _upstream,
    _throughputs,
    deletes="DeleteProvisionedModelThroughput",
)
COPY = Kind(
    "copy",
    "CreateModelCopyJob",
    _copy,
    _lists("list_model_copy_jobs", "modelCopyJobSummaries", "jobArn", "us-west-2", "targetModelNameContains"),
)
IMPORT = Kind(
    "import",
    "CreateModelImportJob",
    _import,
    _lists("list_model_import_jobs", "modelImportJobSummaries", "jobArn"),
)
MODEL = Kind("custom model", "CreateCustomModel", _model, _lists("list_custom_models", "modelSummaries", "modelArn"))
KINDS = (THROUGHPUT, COPY, IMPORT, MODEL)
JOB = Kind(
    "customization job",
    "CreateModelCustomizationJob",
    _job,
    _lists("list_model_customization_jobs", "modelCustomizationJobSummaries", "jobArn"),
    stops=True,
)


DEPLOYMENT = Kind(
    "deployment",
    "CreateCustomModelDeployment",
    _deployment,
    _lists("list_custom_model_deployments", "modelDeploymentSummaries", "customModelDeploymentArn"),
    deletes="DeleteCustomModelDeployment",
    identifier="customModelDeploymentIdentifier",
)


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario, counted on the service's side.

    :param made: so many the service has made.
    :param left: so many exist, or go on, beyond what the task has succeeded with.
    :param end: the task's last state.
    """

    made: int
    left: int
    end: str

    def __str__(self) -> str:
        return f"{self.made} made, {self.left} left, {self.end}"


@dataclass
class Task:
    """One task instance: its tries, its Clears, and the state in which Airflow has it."""

    kind: Kind
    world: World
    patch: pytest.MonkeyPatch
    arguments: dict[str, Any] = field(default_factory=lambda: {"other": False})
    state: str = "running"
    end: str = "running"
    number: int = 0
    ask: int = RETRIES
    tries: int = 0

    def __post_init__(self) -> None:
        self.name = self.run = f"fault{next(_numbers)}x"
        self.said: list[str] = []
        self.xcoms: dict[str, Any] = {}
        self.at_poll: list[Callable[[], None]] = []
        self.operator: Any = None
        self.store: Store | None = None
        self.slept = 0.0
        self.waits_too = False
        """Whether another run waits for what it has made."""

    @property
    def context(self) -> Any:
        """What Airflow gives a try."""
        ti = SimpleNamespace(
            dag_id="dag",
            task_id="ask",
            run_id=self.run,
            map_index=-1,
            max_tries=self.ask,
            try_number=self.number,
            task=SimpleNamespace(retries=RETRIES),
            xcom_push=lambda key, value: self.xcoms.update({key: value}),
            xcom_pull=lambda key, **_: self.xcoms.get(key),
        )
        context = {"ti": ti, "dag_run": SimpleNamespace(partition_key=None)}
        return context if self.store is None else {**context, "task_state_store": self.store}

    def monotonic(self) -> float:
        """Return the time, of which sleeping takes none."""
        return time.monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.slept += seconds
        if self.slept > _DAY:
            raise EndlessError
        self.world.pass_time()

    def between_polls(self, seconds: float) -> None:
        """Stand in for the time between two polls."""
        if self.at_poll:
            self.at_poll.pop(0)()
        else:
            self.sleep(seconds)

    def clear(self) -> None:
        """Clear the task, as a person does."""
        self.ask, self.tries, self.state = self.number + RETRIES, 0, "running"

    def attempt(self, *, kill: str = "") -> bool:
        """Run one try; return whether Airflow would try again. The operator's client asks once, without retries.

        :param kill: ``before`` or ``after`` Create has reached the service, the worker is killed.
        """
        if self.state == "failed":  # a person has ended it: Airflow tries no more
            return False
        self.number, self.tries = self.number + 1, self.tries + 1
        self.operator = self.kind.make(self.world, self.name, botocore_config=QUICK, **self.arguments)
        if kill:
            event = {"before": "before-send", "after": "after-call"}[kill]
            self.operator.hook.conn.meta.events.register(f"{event}.bedrock.{self.kind.create}", _killed)
        try:
            self.operator.execute(self.context)
        except KilledError:
            return True
        except AirflowFailException as error:
            self.said.append(str(error))
            self.end = "failed"
            return False
        except AirflowTaskTimeout:
            self.operator.on_kill()
            self.end = "failed"
        except AirflowException as error:
            self.said.append(str(error))
            self.end = "failed"
        except Exception as error:  # upstream's are those of botocore
            self.said.append(str(error))
            self.end = "failed"
        else:
            self.end = self.state = "success"
            return False
        finally:
            self.operator.hook.conn.close()
        return self.state != "failed" and self.tries <= RETRIES

    def finish(self) -> None:
        """Let the tries that are left take their course."""
        while self.attempt():
            pass

    def mark_failed(self) -> None:
        """Mark the task failed while it polls: Airflow sends its worker SIGTERM."""
        self.state = self.end = "failed"
        self.operator.on_kill()
        if (kill := getattr(self.operator, "_kill", None)) is not None:
            kill.wait()
        raise KilledError

    def outcome(self) -> Outcome:
        """Count."""
        made = {
            call.parameters["clientRequestToken"]
            for call in self.world.local.calls.of(self.kind.create)
            if any(str(value).startswith(self.name) for value in call.parameters.values())
            and (call.status < 300 or call.status == 500)  # 0 where the answer was lost
        }
        existing = self.kind.made(self.world, self.name)
        return Outcome(len(made), len(existing) - (self.end == "success"), self.end)


def _killed(**_: Any) -> None:
    raise KilledError


def nothing(task: Task) -> None:
    """Nothing happens."""
    task.finish()


def throttled(task: Task) -> None:
    """The first try is throttled at every call."""
    fault = task.world.local.faults.throttle()
    task.attempt()
    task.world.local.faults.remove(fault)
    task.finish()


def denied(task: Task) -> None:
    """The role may not create it."""
    task.world.local.faults.fail(task.kind.create, "AccessDeniedException", times=None)
    task.finish()


def killed_before(task: Task) -> None:
    """The worker is killed before the request has reached the service."""
    task.attempt(kill="before")
    task.finish()


def killed_after(task: Task) -> None:
    """The worker is killed after the service has accepted the request, before the response arrives."""
    task.attempt(kill="after")
    task.finish()


def response_lost(task: Task) -> None:
    """The service accepts the request, and its response is lost."""
    task.world.local.faults.drop(task.kind.create)
    task.finish()


def fault_after_accept(task: Task) -> None:
    """The service accepts the request, and answers HTTP 500."""
    task.world.local.faults.fail(task.kind.create, "InternalServerException", executed=True, times=1)
    task.finish()


def request_changed(task: Task) -> None:
    """The response is lost, and the next try's request differs."""
    task.world.local.faults.drop(task.kind.create)
    task.attempt()
    task.arguments["other"] = True
    task.world.pass_time()
    task.finish()


def killed_while_waiting(task: Task) -> None:
    """The worker is killed while it waits."""
    task.at_poll.append(_killed)
    task.finish()


def cleared_while_waiting(task: Task) -> None:
    """The task is cleared while it waits; nothing has changed."""
    task.at_poll.append(_killed)
    task.attempt()
    task.clear()
    task.finish()


def cleared_after_success(task: Task) -> None:
    """The task is cleared after it has succeeded; nothing has changed."""
    task.finish()
    task.clear()
    task.finish()


def marked_failed(task: Task) -> None:
    """A person marks the task failed while a worker waits."""
    task.at_poll.append(task.mark_failed)
    task.attempt()


def marked_failed_while_deferred(task: Task) -> None:
    """A person marks the task failed while it waits in the triggerer."""
    import asyncio

    task.arguments["deferrable"] = True
    task.number += 1
    operator = task.kind.make(task.world, task.name, botocore_config=QUICK, **task.arguments)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(task.context)
    operator.hook.conn.close()
    given = deferred.value.trigger
    trigger = type(given)(**given.serialize()[1])
    trigger.task_instance = SimpleNamespace(**{**vars(task.context["ti"]), "task": None})
    task.state = task.end = "failed"

    async def kill() -> None:
        passing = asyncio.get_running_loop().call_later(0.2, task.world.pass_time)  # when a first try was refused
        await trigger.on_kill()
        passing.cancel()
        await asyncio.gather(*on_kill._running)  # which goes on until what is being made can be deleted

    asyncio.run(kill())


def marked_failed_without_a_process(task: Task) -> None:
    """The worker is lost after Create, a person marks the task failed, and orphans are stopped."""
    task.attempt(kill="after")
    task.state = task.end = "failed"
    if task.kind.stops:
        task.world.pass_time()  # it is in service by then; what nothing stops is still on its way
    region = "us-west-2" if task.kind is COPY else "us-east-1"
    with closing(BedrockHook(region_name=region).conn) as client:
        hook = BedrockHook(region_name=region)
        vars(hook)["conn"] = client
        for one in running_jobs(hook, ENVIRONMENT, lambda waiter: task.state):
            if one.kept is None and one.job.name.startswith(task.name):
                task.said.append(stopping.patiently(stopping.stop_job, one.service, one.job.arn))


def timed_out(task: Task) -> None:
    """It takes longer than execution_timeout; the task has three tries."""

    def strike() -> None:
        raise AirflowTaskTimeout

    task.at_poll.extend([strike] * (1 + RETRIES))
    task.at_poll[1:] = [] if task.kind is not UPSTREAM else task.at_poll[1:]
    task.finish()


def timed_out_in_create(task: Task) -> None:
    """execution_timeout runs out during Create, after the service has accepted the request."""

    def strike(**_: Any) -> None:
        raise AirflowTaskTimeout

    task.number, task.tries = 1, 1
    operator = task.operator = task.kind.make(task.world, task.name, botocore_config=QUICK, **task.arguments)
    operator.hook.conn.meta.events.register(f"after-call.bedrock.{task.kind.create}", strike)
    with closing(operator.hook.conn):
        try:
            operator.execute(task.context)
        except AirflowException as error:
            task.said.append(str(error))
            fatal = isinstance(error, AirflowFailException)
        except AirflowTaskTimeout:
            fatal = False
    task.end = "failed"
    if not fatal:
        task.finish()


ONE = Outcome(1, 0, "success")
STOPPED, RUNS_ON = Outcome(1, 0, "failed"), Outcome(1, 1, "failed")
NONE = Outcome(0, 0, "failed")


@dataclass(frozen=True)
class Scenario:
    """A fault.

    :param ours: what comes of it where what was made can be stopped.
    :param unstoppable: what comes of it where nothing stops it.
    """

    play: Callable[[Task], None]
    ours: Outcome = ONE
    unstoppable: Outcome | None = None

    @property
    def name(self) -> str:
        """What happens, in a sentence."""
        return (self.play.__doc__ or "").strip()

    def expected(self, kind: Kind) -> Outcome:
        """Return what has to come of it."""
        return self.ours if kind.stops or self.unstoppable is None else self.unstoppable

    def concerns(self, kind: Kind) -> bool:
        """Whether it can be played: the amazon provider's triggers need a library that is not here."""
        return kind is not UPSTREAM or self.play is not marked_failed_while_deferred


def row(scenario: Scenario, cells: Iterable[str]) -> str:
    """Return the scenario's row in the documentation."""
    return f"| {' | '.join([scenario.name, *cells])} |"


SCENARIOS = (
    Scenario(nothing),
    Scenario(throttled),
    Scenario(denied, NONE),
    Scenario(killed_before),
    Scenario(killed_after),
    Scenario(response_lost),
    Scenario(fault_after_accept),
    Scenario(request_changed),
    Scenario(killed_while_waiting),
    Scenario(cleared_while_waiting),
    Scenario(cleared_after_success),
    Scenario(marked_failed, STOPPED, RUNS_ON),
    Scenario(marked_failed_while_deferred, STOPPED, RUNS_ON),
    Scenario(marked_failed_without_a_process, STOPPED, RUNS_ON),
    Scenario(timed_out, STOPPED, RUNS_ON),
    Scenario(timed_out_in_create, STOPPED, RUNS_ON),
)


def play(
    scenario: Scenario, kind: Kind, world: World, before_call: Callable[[Task, str], None] | None = None
) -> tuple[Outcome, list[str]]:
    """Play a scenario, and count; return also what the task and the log said.

    :param before_call: what happens before each call of Bedrock by the task; it is given the operation.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.local.environment().items():
            patch.setenv(name, value)
        patch.setenv("AIRFLOW__BEDROCK__ENVIRONMENT", ENVIRONMENT)
        task = Task(kind, world, patch)
        sleeps = {waiting: task.between_polls, botocore.waiter: task.between_polls}
        for module in (waiting, botocore.waiter, submission, stopping, own_jobs, on_kill):
            clock = SimpleNamespace(sleep=sleeps.get(module, task.sleep), monotonic=task.monotonic, time=time.time)
            patch.setattr(module, "time", clock)
        # In a triggerer the time is real.
        patch.setattr(stopping, "TRY_AGAIN_SECONDS", 0.05)
        patch.setattr(stopping, "_TRANSIENT_SECONDS", 0.5)
        for module in (stopping, own_jobs):
            patch.setattr(module, "SECONDS_UNTIL_MISSING", 0.5)

        def states(*, run_ids: list[str], task_ids: list[str], **_: object) -> dict[str, dict[str, str]]:
            return {run_ids[0]: {task_ids[0]: task.state if run_ids[0] == task.run else "running"}}

        patch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(states))
        try:
            with _calls_of(task, before_call):
                scenario.play(task)
            world.pass_time()
            return task.outcome(), task.said
        finally:
            world.local.faults.clear()
            with suppress(Exception):
                _clean_up(task)


@contextmanager
def _calls_of(task: Task, before_call: Callable[[Task, str], None] | None) -> Iterator[None]:
    call: Any = vars(BaseClient)["_make_api_call"]
    acting: list[str] = []

    def told(client: Any, operation: str, parameters: Any) -> Any:
        if before_call and not acting and client.meta.service_model.service_name == "bedrock":
            acting.append(operation)
            try:
                before_call(task, operation)
            finally:
                acting.clear()
        return call(client, operation, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", told)
        yield


def _clean_up(task: Task) -> None:
    """Delete what serves, so that quotas hold."""
    if task.kind.deletes:
        with task.world.client() as bedrock:
            for arn in task.kind.made(task.world, task.name):
                task.kind.delete(bedrock, arn)
