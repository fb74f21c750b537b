"""The work of a customization job: validation, data processing, training, and then the model.

:func:`customize` is a generator for the runner. Each phase has a fixed share of the job's time; a phase that takes
longer than its share ends later.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime

from airflow_bedrock.datasets.rules.record import Record
from airflow_bedrock.local.catalog import known, schedule
from airflow_bedrock.local.faults import Phase
from airflow_bedrock.local.learning.model import LanguageModel
from airflow_bedrock.local.learning.training import (
    Batch,
    Example,
    fingerprint,
    loss_of,
    token_limit,
    train,
)
from airflow_bedrock.local.runner import IDLE, Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import CustomModel, Job
from airflow_bedrock.local.work.data import Data
from airflow_bedrock.local.work.events import emit_job_event
from airflow_bedrock.local.work.examples import examples_of
from airflow_bedrock.local.work.frame import check_fault, framed
from airflow_bedrock.local.work.records import DataError
from airflow_bedrock.local.work.s3 import write

VALIDATED, PROCESSED = 0.15, 0.3
"""The share of the job's time after which each phase before training ends."""

STOPPING = 0.1
"""How long a job is Stopping, as a share of its time."""

Row = tuple[int, int, float]
"""Step, epoch, loss."""

TRAINING = "training_artifacts/step_wise_training_metrics.csv"
VALIDATION = "validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv"


class _Stopped(Exception):  # not an error: it was requested
    """The stop of the job was requested."""


def customize(bedrock: Bedrock, job: Job) -> Work:
    """Run a job to its end."""
    run = _Run(bedrock, job)
    yield from framed(f"job {job.name}", run.to_the_end(), lambda message: run.end("Failed", message))


class _Run:
    """One run of one job, with its intermediate results."""

    def __init__(self, bedrock: Bedrock, job: Job) -> None:
        self._bedrock = bedrock
        self._job = job
        self._started = bedrock.world.runner.started(job.arn)
        self._s3 = bedrock.client("s3")
        self._records: list[Record] = []
        self._held_out: list[list[Record]] = []
        self._training: list[Example] = []
        self._validation: list[list[Example]] = []
        self._model: LanguageModel | None = None

    def now(self) -> float:
        return self._bedrock.world.clock.time()

    def to_the_end(self) -> Work:
        """Go through the phases, or stop between two steps."""
        try:
            yield from self._phases()
        except _Stopped:
            end = self.now() + STOPPING * self._bedrock.world.settings.job_seconds
            while self.now() < end:  # the request to stop may wake it again
                yield end
            self.end("Stopped")

    def _phases(self) -> Work:
        yield from self._phase("validation", self._validate())
        yield from self._phase("dataProcessing", self._process())
        yield from self._wait_for_slot()
        yield from self._phase("training", self._train())
        self._complete()

    def end(self, status: str, message: str | None = None) -> None:
        """Set the final status of the job and of its current phase."""
        with self._bedrock.world.lock:
            now = self._touch()
            self._job.status, self._job.failure_message, self._job.end_time = status, message, now
            self._job.curves = self._job.progress.curves
            for phase in self._job.phases.values():
                if phase.status in ("InProgress", "Stopping"):
                    phase.status, phase.last_modified_time = status, now
            emit_job_event(self._bedrock, self._job)
            _wake_next(self._bedrock)

    def _phase(self, name: Phase, work: Work) -> Work:
        phase = self._job.phases[name]
        with self._bedrock.world.lock:
            self._check_not_stopped()
            # Another status is that of the run before a restart, which is being repeated up to that point.
            if phase.status == "NotStarted":
                phase.status, phase.creation_time = "InProgress", self._touch()
                phase.last_modified_time = phase.creation_time
        check_fault(self._bedrock, self._job.name, name)
        with closing(work):  # at once if the job is stopped: a grader may be running
            for due in work:
                yield due
                self._check_not_stopped()
        with self._bedrock.world.lock:
            self._check_not_stopped()
            if phase.status == "InProgress":
                phase.status, phase.last_modified_time = "Completed", self._touch()

    def _wait_for_slot(self) -> Work:
        while True:
            with self._bedrock.world.lock:
                self._check_not_stopped()
                if _has_slot(self._bedrock, self._job):
                    return
            yield self.now() + IDLE

    def _validate(self) -> Work:
        self._records, self._held_out = Data(self._bedrock, self._job, self._s3).read()
        yield self._bedrock.due(self._job.arn, VALIDATED)

    def _process(self) -> Work:
        self._training = yield from examples_of(self._bedrock, self._job, self._records)
        for part in self._held_out:
            self._validation.append((yield from examples_of(self._bedrock, self._job, part)))
        self._model = self._beginning()
        yield self._bedrock.due(self._job.arn, PROCESSED)

    def _beginning(self) -> LanguageModel:
        """Return the model with which training starts: the custom model to tune further, or an untrained one."""
        prompts = [example.prompt for example in self._training]
        completions = [example.completion for example in self._training]
        seed = f"{self._job.base_model} {fingerprint(self._training)}"
        if ":custom-model/" not in self._job.base_model_arn:
            return LanguageModel.untrained(prompts, completions, seed)
        with self._bedrock.world.lock:
            base = self._bedrock.world.weights.get(self._job.base_model_arn)
        if base is None:
            raise DataError(f"The base model {self._job.base_model_arn} was deleted")
        return base.extended(prompts, completions, seed)

    def _train(self) -> Work:
        model = self._model
        assert model is not None  # noqa: S101  # data processing made it
        begun = self._job.phases["training"].creation_time
        assert begun is not None  # noqa: S101  # the phase has begun
        plan = schedule(known(self._job.base_model).methods[self._job.type], self._settings(), len(self._training))
        held_out = [Batch.of(model, part, token_limit(len(self._training))) for part in self._validation]
        progress = self._job.progress
        progress.steps = plan.steps(len(self._training))
        training: list[Row] = []
        validation: list[Row] = []
        losses: list[float] = []
        seconds = (1 - PROCESSED) * self._bedrock.world.settings.job_seconds
        for step in train(model, self._training, plan):
            training.append((step.number, step.epoch, step.loss))
            progress.step, progress.epoch, progress.training_loss = step.number, step.epoch, step.loss
            progress.training_losses.append(step.loss)
            if step.ends_epoch and held_out:
                losses = [loss_of(model, part) for part in held_out]
                progress.validation_loss = _mean(losses, [len(part.targets) for part in held_out])
                validation.append((step.number, step.epoch, progress.validation_loss))
                progress.validation_losses.append((step.number, progress.validation_loss))
            yield self._put_off(begun) + seconds * step.number / progress.steps
        self._write_metrics(training, validation)
        last_epoch = [loss for _, epoch, loss in training if epoch == progress.epoch]
        self._job.training_loss = sum(last_epoch) / len(last_epoch)
        self._job.validation_losses = losses

    def _write_metrics(self, training: Sequence[Row], validation: Sequence[Row]) -> None:
        """Write the training metrics, and the validation metrics if any, below the job's output folder."""
        output: str = self._job.request["outputDataConfig"]["s3Uri"]
        folder = f"{output.rstrip('/')}/model-customization-job-{self._job.id}"
        write(self._s3, f"{folder}/{TRAINING}", _table("training_loss", training), "text/csv")
        if validation:
            write(self._s3, f"{folder}/{VALIDATION}", _table("validation_loss", validation), "text/csv")

    def _settings(self) -> dict[str, str]:
        """Return the hyperparameters; those of reinforcement fine-tuning are numbers, elsewhere in the request."""
        config = self._job.request.get("customizationConfig", {}).get("rftConfig", {})
        given = {name: str(value) for name, value in config.get("hyperParameters", {}).items()}
        return {**self._job.hyperparameters, **given}

    def _complete(self) -> None:
        bedrock, job = self._bedrock, self._job
        assert self._model is not None  # noqa: S101  # training ended
        with bedrock.world.lock:
            self._check_not_stopped()
            arn = bedrock.new_arn(f"custom-model/{job.base_model}")
            bedrock.world.weights[arn] = self._model
            bedrock.models[arn] = CustomModel(
                arn=arn,
                name=job.model_name,
                base_model=job.base_model,
                base_model_arn=job.base_model_arn,
                type=job.type,
                creation_time=bedrock.world.clock.now(),
                job_arn=job.arn,
                kms_key_arn=job.kms_key_arn,
            )
            bedrock.tag(arn, job.request.get("customModelTags"))
            job.model_arn = arn
            self.end("Completed")

    def _put_off(self, moment: datetime) -> float:
        """Return a time of the job's first run on the current clock: restarts have delayed it."""
        return moment.timestamp() + self._started - self._job.creation_time.timestamp()

    def _check_not_stopped(self) -> None:
        if self._job.status == "Stopping":
            raise _Stopped

    def _touch(self) -> datetime:
        self._job.last_modified_time = self._bedrock.world.clock.now()
        return self._job.last_modified_time


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / max(1, sum(weights))


def _has_slot(bedrock: Bedrock, job: Job) -> bool:
    """Whether a job may begin to train, or is training. Hold the world's lock."""
    return job.phases["training"].status != "NotStarted" or job in _waiting(bedrock)


def _wake_next(bedrock: Bedrock) -> None:
    """Wake the jobs that have a slot now, because another job has ended. Hold the world's lock."""
    for job in _waiting(bedrock):
        bedrock.world.runner.wake(job.arn)


def _waiting(bedrock: Bedrock) -> list[Job]:
    """Return the waiting jobs that may continue."""
    active = [job for job in bedrock.jobs.values() if job.active]
    training = sum(job.phases["training"].status != "NotStarted" for job in active)
    waiting = [
        job
        for job in active
        if job.status == "InProgress"
        and job.phases["dataProcessing"].status == "Completed"
        and job.phases["training"].status == "NotStarted"
    ]
    return waiting[: max(0, bedrock.world.settings.quotas.training_jobs - training)]


def _table(loss_name: str, rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step_number", "epoch_number", loss_name, "perplexity"])
    writer.writerows((step, epoch, loss, math.exp(min(loss, 700.0))) for step, epoch, loss in rows)
    return text.getvalue().encode()
