"""The identity of a job: its names and token are derived from who asks, from the ask, and from what is asked.

*Who* is the deployment of Airflow, the DAG, the task, the map index, and the partition or else the run. The *ask* is
the first run of this task, and each Clear of it. *What* is the request and the content of the data. None of them
contains the try number: two tries, two workers, a killed worker and its successor derive the same names and find each
other's job, and no store has to survive between them.

With ``reuse="run"`` and ``"never"``, the job's name contains who, so that a retry finds its job with Get even if the
request or the data now differs. With ``"dag"``, it contains what, so that concurrent runs that ask for the same thing
find the same job. The model's name always contains what and who, since List shows it. The token contains all three.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import msgspec

from airflow_bedrock.customization.request import Reuse, normalised

MAX_NAME_LENGTH = 63  # CreateModelCustomizationJob: jobName and customModelName
_FAMILY_LENGTH = 8  # letters of base 32, 5 bits each; the token shows a clash
_PERIOD_LENGTH = 8
_WHAT_LENGTH = 10
_ASK_LENGTH = 4
_MAX_GENERATION_DIGITS = 6
_MODEL_NAME = (
    rf".+-(?P<digests>[a-z2-7]{{{_WHAT_LENGTH}}}-[a-z2-7]{{{_PERIOD_LENGTH}}}(m\d+)?"
    rf"(-[a-z2-7]{{{_ASK_LENGTH}}})?(-\d+)?)"
)


class TaskKey(msgspec.Struct, frozen=True, kw_only=True):
    """The task instance that asks for a job, and which ask this is; the same for all tries of an ask.

    :param environment: the deployment of Airflow: deployments that share an AWS account never adopt each other's jobs.
    :param partition_key: the partition of a partitioned DAG. It replaces the run, since each backfill of a partition
        makes a new run.
    :param ask: the task instance's ``max_tries``, which grows with each Clear of the task, not with a retry.
    :param try_number: the number of this try; with 1, this run cannot have asked before.
    :param retries: the task's ``retries``; a Clear adds as many to ``max_tries``.
    :param since: the earliest time at which the run can have asked.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    environment: str = ""
    partition_key: str | None = None
    ask: int = 0
    try_number: int = 1
    retries: int = 0
    since: datetime | None = None

    @property
    def is_retry(self) -> bool:
        """Whether an earlier try of this ask may have asked; a Clear sets ``max_tries`` to the tries so far + retries.

        If the task's ``retries`` were edited since, a first try counts as a retry, and only reads the jobs once more.
        """
        return self.try_number > 1 and self.try_number != self.ask - self.retries + 1

    @property
    def family(self) -> str:
        """Digest of the task, the same for all its runs and map indexes."""
        return _digest("family", self.environment, self.dag_id, self.task_id)

    @property
    def period(self) -> str:
        """Digest of the partition, or of the run if there is no partition."""
        kind, key = ("run", self.run_id) if self.partition_key is None else ("partition", self.partition_key)
        return _digest(self.family, kind, key)

    @property
    def who(self) -> str:
        """Digest of who asks."""
        return _digest(self.period, str(self.map_index))

    @property
    def instance(self) -> str:
        """Digest of the task instance in its run; two runs of a partition have the same ``who``."""
        return _digest(self.who, self.run_id)

    @property
    def ask_digest(self) -> str:
        """Digest of the ask: the same for an automatic retry, another one after a Clear and in another run."""
        return _digest(self.who, self.run_id, str(self.ask))


class Token(msgspec.Struct, frozen=True):
    """The parts of a clientRequestToken of this package."""

    family: str
    who: str
    ask: str
    what: str
    generation: int

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """Return the parts of the token; None if this package did not make it."""
        parts = (text or "").split("-")
        # A token that boto3 makes is a UUID: five parts too, of which the last has 12 characters, sometimes all digits.
        if len(parts) != 5 or not parts[4].isdigit() or len(parts[4]) > _MAX_GENERATION_DIGITS:
            return None
        family, who, ask, what, generation = parts
        return cls(family, who, ask, what, int(generation))

    def __str__(self) -> str:
        return "-".join((self.family, self.who, self.ask, self.what, str(self.generation)))


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies a job: its names and its token, which contain who asks, the ask, and what is asked.

    :param what: digest of the normalised request and of the content of the data.
    :param job_prefix: the user's prefix of the job's name.
    :param model_prefix: the user's prefix of the model's name.
    :param exact: use the prefixes as the names themselves, without a digest.
    :param plain: whether the name allows only the characters of a model's name, as for models and what serves them.
    """

    task_key: TaskKey
    what: str
    reuse: Reuse
    job_prefix: str
    model_prefix: str
    exact: bool = False
    plain: bool = False

    @property
    def family_part(self) -> str:
        """The part that the names of all jobs of the task share, for ``nameContains`` of ListModelCustomizationJobs."""
        return _short(self.task_key.family, _FAMILY_LENGTH)

    @property
    def what_part(self) -> str:
        """The part that the names of all models of the same request and data share."""
        return _short(self.what, _WHAT_LENGTH)

    @property
    def period_part(self) -> str:
        """The part that the names of all jobs, or models, of the run or the partition share."""
        return _short(self.task_key.period, _PERIOD_LENGTH)

    @property
    def who_part(self) -> str:
        """The part that the names of all jobs, or models, of this task instance share."""
        return self.period_part if self.task_key.map_index < 0 else f"{self.period_part}m{self.task_key.map_index}"

    def job_name(self, generation: int = 1) -> str:
        """Return the job name; each generation follows one that failed, was stopped, or whose model is gone."""
        if self.exact:
            return self.job_prefix
        own = self.what_part if self.reuse == "dag" else self._own_part
        prefix = _model_characters(self.job_prefix) if self.plain else _job_characters(self.job_prefix)
        return _name(prefix, f"{self.family_part}-{own}", generation)

    def job_names(self, after: int = 0) -> Iterator[str]:
        """Yield the job names of the generations after this many; an exact name has one generation."""
        for generation in itertools.count(after + 1):
            yield self.job_name(generation)
            if self.exact:
                return

    def model_name(self, generation: int = 1) -> str:
        """Return the custom model's name, which is unique for as long as the model exists."""
        if self.exact:
            return self.model_prefix
        return _name(_model_characters(self.model_prefix), f"{self.what_part}-{self._own_part}", generation)

    def token(self, generation: int = 1) -> str:
        """Return the clientRequestToken: the service ignores a second request with the same token."""
        return str(Token(self.task_key.family, self.task_key.who, self.task_key.ask_digest, self.what, generation))

    def is_of_task(self, token: Token | None) -> bool:
        """Whether the token is of this task of this deployment, in any run and map index."""
        return token is not None and token.family == self.task_key.family

    def is_of_who(self, token: Token | None) -> bool:
        """Whether the token is of this task instance, in any ask."""
        return token is not None and token.who == self.task_key.who

    def is_of_ask(self, token: Token | None) -> bool:
        """Whether the token is of an earlier try of the same ask."""
        return self.is_of_who(token) and token is not None and token.ask == self.task_key.ask_digest

    def is_of_what(self, token: Token | None) -> bool:
        """Whether the token is of the same request and the same data."""
        return token is not None and token.what == self.what

    @property
    def _own_part(self) -> str:
        ask = f"-{_short(self.task_key.ask_digest, _ASK_LENGTH)}" if self.reuse == "never" else ""
        return f"{self.who_part}{ask}"


def identify(
    request: Mapping[str, Any],
    data: Sequence[Mapping[str, Any]],
    task_key: TaskKey,
    reuse: Reuse,
    *,
    exact: bool = False,
    name: str = "jobName",
    model_name: str | None = "customModelName",
) -> Identity:
    """Derive the identity of the job that a task asks for.

    :param request: the Create request; its names are prefixes, and its tags and token do not count.
    :param data: what identifies the content of each data object.
    :param reuse: which jobs count.
    :param exact: use the names of the request unchanged.
    :param name: the member of the request that names the job.
    :param model_name: the member that names the model that the job makes, if there is one.
    """
    no_identity = {name, model_name, "clientRequestToken"}
    members = {
        member: value
        for member, value in request.items()
        if member not in no_identity and not member.lower().endswith("tags")
    }
    return Identity(
        task_key=task_key,
        what=_digest(_canonical(normalised(members)), _canonical(list(data))),
        reuse=reuse,
        job_prefix=request[name],
        model_prefix=request[model_name] if model_name else "",
        exact=exact,
        plain=name != "jobName",
    )


def is_named_after(name: str, prefix: str) -> bool:
    """Whether a model's name was made from this prefix: it is the prefix itself, or the prefix with digests."""
    given, found = _model_characters(prefix), re.fullmatch(_MODEL_NAME, name)
    return name == given or (found is not None and _name(given, found["digests"], 1) == name)


def _digest(*parts: str) -> str:
    """Return the hexadecimal digest of the parts, of 80 bits; adjacent parts cannot be confused."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=10).hexdigest()


def _short(digest: str, length: int) -> str:
    number = int(digest, 16)
    return "".join("abcdefghijklmnopqrstuvwxyz234567"[number >> 5 * i & 31] for i in range(length))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def _name(prefix: str, suffix: str, generation: int) -> str:
    suffix = suffix if generation == 1 else f"{suffix}-{generation}"
    return f"{prefix[: MAX_NAME_LENGTH - len(suffix) - 1].rstrip('-_+.')}-{suffix}"


def _job_characters(prefix: str) -> str:
    """Keep the characters that a job name allows: ``[a-zA-Z0-9](-*[a-zA-Z0-9+.-])*``; the rest becomes a dash."""
    return re.sub(r"[^a-zA-Z0-9+.]+", "-", prefix).strip("-+.") or "job"


def _model_characters(prefix: str) -> str:
    """Keep the characters that a model name allows: ``([0-9a-zA-Z][_-]?){1,63}``: no dots, no repeated separators."""
    return re.sub(r"[^0-9a-zA-Z]+", lambda run: "_" if run[0] == "_" else "-", prefix).strip("-_") or "model"
