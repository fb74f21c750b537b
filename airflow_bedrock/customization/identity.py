"""The name is the state: what a job is called follows from who asks and from what is asked, and from nothing else.

Two workers, two tries, a worker that was killed and its successor all derive the same job name and the same
clientRequestToken, so each finds the job of the others; no store has to survive between them. The try number is left
out on purpose. What changes the name is a change of the request or of the data. The token says in addition who asked
last, so that a job that failed for good is not paid for again until somebody asks again: by a Clear, or by a new run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Reuse = Literal["run", "dag", "never"]
"""How far sameness reaches: within the DAG run; across the runs of the DAG; or not beyond a Clear of the task."""


def reuse_choice(value: object) -> Reuse:
    """Return the value, if it is a choice of :data:`Reuse`.

    :raises ValueError: it is none.
    """
    choices = get_args(Reuse)
    if value not in choices:
        raise ValueError(f"reuse must be one of {', '.join(choices)}; got {value!r}")
    return value  # type: ignore[return-value]  # checked above


def adds_digest(value: object) -> bool:
    """Return what ``ensure_unique_job_name`` says, also as the text that a template renders.

    :raises ValueError: it is a text that is neither true nor false.
    """
    if not isinstance(value, str):
        return bool(value)
    try:
        return {"true": True, "false": False}[value.strip().lower()]
    except KeyError:
        raise ValueError(f"ensure_unique_job_name must be True or False; got {value!r}") from None


MAX_NAME_LENGTH = 63  # CreateModelCustomizationJob: jobName and customModelName
_DIGEST_LENGTH = 10  # 50 bits of base 32: a clash within one prefix is not to be expected in a million jobs
_NOT_IDENTITY = ("jobName", "customModelName", "clientRequestToken", "jobTags", "customModelTags")


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Who asks for a job: one task instance, whichever try of it."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    clear_number: int = 0

    def parts(self, reuse: Reuse) -> tuple[str, ...]:
        """Return what tells this asker from another one, as far as ``reuse`` says that it matters."""
        task = (self.dag_id, self.task_id, str(self.map_index))
        return {"dag": task, "run": (*task, self.run_id), "never": (*task, self.run_id, str(self.clear_number))}[reuse]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a job is known by: its digest, and the names and the token that carry it.

    :param digest: hexadecimal digest of asker, request and data.
    :param ask: hexadecimal digest of who asks this time: the run and how often it was cleared.
    :param job_prefix: the readable start of the job's name, the user's.
    :param model_prefix: the readable start of the model's name, the user's.
    :param exact: use the prefixes as the names themselves, without a digest.
    """

    digest: str
    ask: str
    job_prefix: str
    model_prefix: str
    exact: bool = False

    def job_name(self, generation: int = 1) -> str:
        """Return the job name; each generation follows one that failed, was stopped, or whose model is gone."""
        return self.job_prefix if self.exact else _name(_job_characters(self.job_prefix), self._suffix(generation))

    def model_name(self, generation: int = 1) -> str:
        """Return the custom model's name, which is unique for as long as the model exists."""
        if self.exact:
            return self.model_prefix
        return _name(_model_characters(self.model_prefix), self._suffix(generation))

    def token(self, generation: int = 1) -> str:
        """Return the clientRequestToken: the service ignores a second request that bears it."""
        return f"{self.digest}-{self.ask}-{generation}"

    def made(self, token: str | None) -> bool:
        """Whether the token is one of this identity's, whoever asked."""
        return token is not None and token.startswith(f"{self.digest}-")

    def asked_for(self, token: str | None) -> bool:
        """Whether the token is one of this identity's, and of the same ask: an earlier try of the same task."""
        return token is not None and token.startswith(f"{self.digest}-{self.ask}-")

    def _suffix(self, generation: int) -> str:
        number = int(self.digest, 16)
        short = "".join("abcdefghijklmnopqrstuvwxyz234567"[number >> 5 * i & 31] for i in range(_DIGEST_LENGTH))
        return short if generation == 1 else f"{short}-{generation}"


def identify(
    request: Mapping[str, Any], data: Sequence[Mapping[str, Any]], asker: Asker, reuse: Reuse, *, exact: bool = False
) -> Identity:
    """Derive the identity of the job that ``asker`` asks for.

    :param request: the CreateModelCustomizationJob request; its names are prefixes, its tags and token do not count.
    :param data: what is known of each data object: URI, ETag, size, version.
    :param reuse: how far sameness reaches.
    :param exact: take the names of the request as they are.
    """
    asked = {name: value for name, value in request.items() if name not in _NOT_IDENTITY}
    names = (request["jobName"], request["customModelName"])
    parts = (*asker.parts(reuse), *names, _canonical(asked), _canonical(list(data)))
    return Identity(
        digest=_digest(*parts, size=20),
        ask=_digest(asker.run_id, str(asker.clear_number), size=6),
        job_prefix=names[0],
        model_prefix=names[1],
        exact=exact,
    )


def with_fitting_names(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with names such as it will have: of characters and a length that the service takes.

    For checking a request before its identity is known: what is given are prefixes, which may hold any text. What is
    no text, or empty, is left as it is.
    """
    job, model = request.get("jobName"), request.get("customModelName")
    identity = Identity(digest="0", ask="0", job_prefix=str(job), model_prefix=str(model))
    names = {"jobName": identity.job_name(), "customModelName": identity.model_name()}
    prefixes = {name for name in names if isinstance(request.get(name), str) and request[name]}
    return {**request, **{name: names[name] for name in prefixes}}


def _digest(*parts: str, size: int) -> str:
    """Return the hexadecimal digest of the parts; none can run into the next."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=size).hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def _name(prefix: str, suffix: str) -> str:
    room = MAX_NAME_LENGTH - len(suffix) - 1
    return f"{prefix[:room].rstrip('-_+.')}-{suffix}"


def _job_characters(prefix: str) -> str:
    """Keep what a job name may hold: ``[a-zA-Z0-9](-*[a-zA-Z0-9+.-])*``; the rest becomes a dash."""
    return re.sub(r"[^a-zA-Z0-9+.]+", "-", prefix).strip("-+.") or "job"


def _model_characters(prefix: str) -> str:
    """Keep what a model name may hold: ``([0-9a-zA-Z][_-]?){1,63}``: no dots, no two separators in a row."""
    return re.sub(r"[^0-9a-zA-Z]+", lambda run: "_" if run[0] == "_" else "-", prefix).strip("-_") or "model"
