"""Faults on demand: what goes wrong, at which call, and for how long.

This is the part that decides, and knows neither HTTP nor AWS; ``web/application.py`` asks it about each call, and
``work/customization.py`` about each phase of a job. :class:`Faults` is ``local.faults`` in Python and
``/_local/faults`` over HTTP.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

Effect = Literal["error", "drop", "delay", "hide", "fail-job"]
Service = Literal["bedrock", "s3", "*"]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Something that goes wrong.

    :param effect: ``error`` answers with an error; ``drop`` closes the connection without an answer; ``delay`` answers
        late; ``hide`` keeps new resources from being seen; ``fail-job`` fails customization jobs.
    :param service: the service whose calls it strikes: ``bedrock`` (with its runtime), ``s3``, or ``*`` for both.
        Without it, both where one operation is named, and Bedrock where a pattern is.
    :param operation: the operations it strikes; ``*`` and ``?`` stand for any characters, as in a shell.
    :param skip: how many of those calls pass before it strikes.
    :param times: how many calls it strikes; without it, all.
    :param seconds: how long it stands, in seconds of the clock; without it, until it is removed.
    :param code: of an error: its code, such as ``ConflictException``.
    :param status: of an error: its HTTP status; without it, the one that the service model declares for the code.
    :param message: of an error or a failed job: the message.
    :param executed: of an error or a drop: whether the call is carried out nevertheless.
    :param delay: of a delay: how long, in seconds of the computer.
    :param age: of a hiding: the age, in seconds of the clock, at which a resource comes to light.
    :param phase: of a failed job: the phase in which it fails (``validation``, ``dataProcessing``, ``training``).
    :param job: of a failed job: the names of the jobs, with ``*`` and ``?``.
    :raises ValueError: it lacks what its effect needs.
    """

    effect: Effect
    service: Service | None = None
    operation: str = "*"
    skip: int = 0
    times: int | None = None
    seconds: float | None = None
    code: str | None = None
    status: int | None = None
    message: str | None = None
    executed: bool = False
    delay: float | None = None
    age: float | None = None
    phase: Literal["validation", "dataProcessing", "training"] | None = None
    job: str = "*"

    def __post_init__(self) -> None:
        needed = {
            "error": "code" if self.status is None else "status",
            "delay": "delay",
            "hide": "age",
            "fail-job": "phase",
        }.get(self.effect)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"A fault with the effect {self.effect!r} needs {needed!r}.")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"The status of an error is between 400 and 599, not {self.status}.")
        for name in ("skip", "times", "seconds", "delay", "age"):
            if (value := getattr(self, name)) is not None and not value >= 0:
                raise ValueError(f"{name!r} must not be less than 0, but it is {value}.")

    def concerns(self, service: str, operation: str) -> bool:
        """Whether it is about calls of this operation."""
        service = service.removesuffix("-runtime")
        wanted = self.service or ("bedrock" if "*" in self.operation or "?" in self.operation else "*")
        return (
            self.effect != "fail-job"
            and service in ("bedrock", "s3")
            and wanted in ("*", service)
            and fnmatchcase(operation, self.operation)
        )

    def strikes(self, seen: int, struck: int) -> bool:
        """Whether it strikes a call that it concerns.

        :param seen: how many such calls there were before.
        :param struck: how many of them it struck.
        """
        return seen >= self.skip and (self.times is None or struck < self.times)


class Standing(msgspec.Struct):
    """A fault that was set.

    :param until: the moment at which it ends by itself.
    :param seen: how many calls it concerned so far.
    :param struck: how many of them it struck.
    """

    id: str
    fault: Fault
    until: float | None = None
    seen: int = 0
    struck: int = 0


class Plan(msgspec.Struct):
    """What happens to one call.

    :param answer: the error or drop that the client gets in place of the answer.
    :param delay: how long the answer takes, in seconds.
    :param age: resources that are younger, in seconds, are not seen.
    :param effects: of all faults that strike, for the journal.
    """

    answer: Fault | None = None
    delay: float = 0.0
    age: float = 0.0
    effects: tuple[Effect, ...] = ()


class Faults:
    """The faults that stand, the oldest first.

    Of several that strike one call, delays add up and one answers: the oldest. The others wait for the next call.

    :param now: returns the time.
    :param operations: the names of all operations, so that a misspelt one is told; without them, any will do.
    """

    def __init__(self, now: Callable[[], float], operations: Collection[str] = ()) -> None:
        self._now = now
        self._operations = operations
        self._lock = threading.Lock()
        self._standing: dict[str, Standing] = {}
        self._numbers = itertools.count(1)

    def add(self, fault: Fault) -> str:
        """Set a fault, and return its id.

        :raises ValueError: there is no such operation.
        """
        if self._operations and not any(fnmatchcase(name, fault.operation) for name in self._operations):
            raise ValueError(f"Neither Bedrock nor S3 has an operation {fault.operation}.")
        with self._lock:
            number = str(next(self._numbers))
            until = None if fault.seconds is None else self._now() + fault.seconds
            self._standing[number] = Standing(number, fault, until)
        return number

    def throttle(
        self,
        operation: str = "*",
        *,
        seconds: float | None = None,
        times: int | None = None,
        service: Service | None = None,
    ) -> str:
        """Throttle an operation, or all: ThrottlingException (429), and SlowDown (503) from S3."""
        return self.add(
            Fault(
                "error",
                service,
                operation,
                times=times,
                seconds=seconds,
                code="ThrottlingException",
                message="Too many requests, please wait before trying again.",
            )
        )

    def fail(
        self,
        operation: str,
        code: str | None = None,
        *,
        nth: int = 1,
        times: int | None = 1,
        status: int | None = None,
        message: str | None = None,
        executed: bool = False,
        service: Service | None = None,
    ) -> str:
        """Fail the n-th call of an operation, counted from now, with an error code or an HTTP status.

        :param times: how many calls fail from the n-th on; None for all.
        :param executed: the operation is carried out, and only its answer is lost.
        """
        if code is None and status is None:
            code = "InternalServerException"
        return self.add(
            Fault(
                "error",
                service,
                operation,
                skip=nth - 1,
                times=times,
                code=code,
                status=status,
                message=message,
                executed=executed,
            )
        )

    def drop(
        self,
        operation: str,
        *,
        nth: int = 1,
        times: int | None = 1,
        executed: bool = True,
        service: Service | None = None,
    ) -> str:
        """Carry the n-th call out, then close the connection without an answer."""
        return self.add(Fault("drop", service, operation, skip=nth - 1, times=times, executed=executed))

    def delay(
        self,
        operation: str,
        by: float,
        *,
        times: int | None = None,
        service: Service | None = None,
    ) -> str:
        """Answer late.

        :param by: seconds of the computer, whatever the clock.
        """
        return self.add(Fault("delay", service, operation, times=times, delay=by))

    def hide_new_jobs(self, seconds: float, *, from_list: bool = True, from_get: bool = True) -> list[str]:
        """Keep customization jobs from List, Get or both until they are so many seconds old."""
        hidden = [("List", from_list, "ListModelCustomizationJobs"), ("Get", from_get, "GetModelCustomizationJob")]
        return [self.add(Fault("hide", operation=name, age=seconds)) for _, wanted, name in hidden if wanted]

    def fail_job(
        self,
        phase: Literal["validation", "dataProcessing", "training"],
        message: str,
        *,
        job: str = "*",
        times: int | None = 1,
    ) -> str:
        """Fail customization jobs as they come to a phase.

        :param job: the names of the jobs, with ``*`` and ``?``.
        """
        return self.add(Fault("fail-job", phase=phase, message=message, job=job, times=times))

    def expire_credentials(self, *, times: int | None = 1) -> str:
        """Answer calls with ExpiredTokenException (403), and ExpiredToken (400) from S3."""
        return self.add(
            Fault(
                "error",
                "*",
                times=times,
                code="ExpiredTokenException",
                message="The security token included in the request is expired",
            )
        )

    def remove(self, id: str) -> bool:  # noqa: A002  # the word for it
        """Remove a fault, and return whether it stood."""
        with self._lock:
            return self._standing.pop(id, None) is not None

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._standing.clear()

    def __iter__(self) -> Iterator[Standing]:
        """Return the faults that stand, with their counts."""
        with self._lock:
            self._forget_ended()
            return iter([msgspec.structs.replace(one) for one in self._standing.values()])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def plan(self, service: str, operation: str) -> Plan:
        """Decide what happens to a call, and count it."""
        plan = Plan()
        if not self._standing:
            return plan
        with self._lock:
            self._forget_ended()
            for one in self._standing.values():
                if one.fault.concerns(service, operation):
                    self._apply(one, plan)
        return plan

    def job_failure(self, job: str, phase: str) -> str | None:
        """Return the message with which a job fails that comes to a phase."""
        if not self._standing:
            return None
        with self._lock:
            self._forget_ended()
            for one in self._standing.values():
                fault = one.fault
                if fault.effect == "fail-job" and fault.phase == phase and fnmatchcase(job, fault.job) and _counts(one):
                    return fault.message or f"The job failed in its phase {phase}."
        return None

    def _apply(self, one: Standing, plan: Plan) -> None:
        fault = one.fault
        answers = fault.effect in ("error", "drop")
        if answers and plan.answer is not None:
            one.seen += 1  # another answers; this one strikes later
            return
        if not _counts(one):
            return
        if answers:
            plan.answer = fault
        plan.delay += fault.delay or 0.0
        plan.age = max(plan.age, fault.age or 0.0)
        plan.effects = (*plan.effects, fault.effect)

    def _forget_ended(self) -> None:
        now = self._now()
        for one in list(self._standing.values()):
            used_up = one.fault.times is not None and one.struck >= one.fault.times
            if used_up or (one.until is not None and now >= one.until):
                del self._standing[one.id]


def _counts(one: Standing) -> bool:
    """Count a call, and return whether it is struck."""
    strikes = one.fault.strikes(one.seen, one.struck)
    one.seen += 1
    one.struck += strikes
    return strikes
