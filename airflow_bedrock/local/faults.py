"""Injected faults: which fault strikes which call, and for how long.

This module only decides, and knows neither HTTP nor AWS: ``web/application.py`` consults it for each call, and
``work/customization.py`` for each phase of a job. :class:`Faults` is ``local.faults`` in Python and ``/_local/faults``
over HTTP.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from typing import Literal, TypedDict, Unpack

import msgspec

Service = Literal["bedrock", "s3", "*"]
Phase = Literal["validation", "dataProcessing", "training", "copy", "import", "creation", "update"]
"""A customization job's phases; a copy, an import or a custom model's creation; a deployment's update."""


class Fault(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    omit_defaults=True,
    tag_field="effect",
):
    """A fault and when it strikes; each effect has its own class.

    :param skip: number of calls, or jobs, that pass before it strikes.
    :param times: number of times that it strikes; None for always.
    :param seconds: how long it is active, in seconds of the clock; None until it is removed.
    :raises ValueError: a number is negative.
    """

    skip: int = 0
    times: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= 0:
                raise ValueError(f"{name!r} must be 0 or more; got {value}.")

    @property
    def effect(self) -> str:
        """The effect, as JSON and the journal name it."""
        return str(self.__struct_config__.tag)


class CallFault(Fault, frozen=True, kw_only=True):
    """A fault that strikes calls.

    :param service: the service whose calls it strikes: ``bedrock`` (with its runtime), ``s3``, or ``*`` for both. None
        means both for the name of one operation, and Bedrock for a pattern.
    :param operation: the operations that it strikes; ``*`` and ``?`` stand for any characters, as in a shell.
    """

    service: Service | None = None
    operation: str = "*"

    def concerns(self, service: str, operation: str) -> bool:
        """Whether it applies to calls of this operation."""
        service = service.removesuffix("-runtime")
        wanted = self.service or ("bedrock" if "*" in self.operation or "?" in self.operation else "*")
        return service in ("bedrock", "s3") and wanted in ("*", service) and fnmatchcase(operation, self.operation)


class Error(CallFault, frozen=True, tag="error"):
    """Returns an error.

    :param code: its code, such as ``ConflictException``.
    :param status: its HTTP status; None for the one that the service model declares for the code.
    :param executed: whether the call is executed nevertheless.
    :raises ValueError: it has neither code nor status, or the status is not one of an error.
    """

    code: str | None = None
    status: int | None = None
    message: str | None = None
    executed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.code is None and self.status is None:
            raise ValueError("A fault with the effect 'error' needs a code or a status.")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"The status of an error must be between 400 and 599; got {self.status}.")


class Drop(CallFault, frozen=True, tag="drop"):
    """Closes the connection without a response.

    :param executed: whether the call is executed nevertheless.
    """

    executed: bool = False


class Delay(CallFault, frozen=True, tag="delay"):
    """Delays the response.

    :param delay: in seconds of the computer.
    """

    delay: float


class Hide(CallFault, frozen=True, tag="hide"):
    """Hides new resources from Get and List.

    :param age: the age at which a resource becomes visible, in seconds of the clock.
    """

    age: float


class FailJob(Fault, frozen=True, tag="fail-job"):
    """Fails customization jobs when they reach a phase.

    :param job: the names of the jobs, with ``*`` and ``?``.
    """

    phase: Phase
    message: str | None = None
    job: str = "*"


AnyFault = Error | Drop | Delay | Hide | FailJob


class Standing(msgspec.Struct):
    """An active fault.

    :param until: when it ends automatically.
    :param seen: number of calls that it applied to so far.
    :param struck: number of them that it struck.
    """

    id: str
    fault: AnyFault
    until: float | None = None
    seen: int = 0
    struck: int = 0

    @property
    def used_up(self) -> bool:
        """Whether it has struck as often as it may."""
        return self.fault.times is not None and self.struck >= self.fault.times

    def strikes(self) -> bool:
        """Count a call, and return whether it is struck."""
        strikes = self.seen >= self.fault.skip and not self.used_up
        self.seen += 1
        self.struck += strikes
        return strikes


class When(TypedDict, total=False):
    """Which calls a fault strikes, and how long it is active; as in :class:`CallFault`."""

    service: Service | None
    times: int | None
    seconds: float | None


class Plan(msgspec.Struct):
    """What happens to one call.

    :param answer: the error or drop that the client gets instead of the response.
    :param delay: the delay of the response, in seconds.
    :param age: resources younger than this are hidden, in seconds.
    :param effects: the effects of all faults that strike, for the journal.
    """

    answer: Error | Drop | None = None
    delay: float = 0.0
    age: float = 0.0
    effects: tuple[str, ...] = ()


class Faults:
    """The active faults, the oldest first.

    If several strike one call, their delays add up and the oldest of the others decides the response; the rest wait for
    the next call.

    :param now: returns the time.
    :param operations: the names of all operations, to detect misspelt ones; without them, any name is accepted.
    """

    def __init__(self, now: Callable[[], float], operations: Collection[str] = ()) -> None:
        self._now = now
        self._operations = operations
        self._lock = threading.Lock()
        self._standing: dict[str, Standing] = {}
        self._numbers = itertools.count(1)

    def add(self, fault: AnyFault) -> str:
        """Add a fault, and return its id.

        :raises ValueError: the operation does not exist.
        """
        operation = fault.operation if isinstance(fault, CallFault) else "*"
        if self._operations and not any(fnmatchcase(name, operation) for name in self._operations):
            raise ValueError(f"Neither Bedrock nor S3 has an operation {operation}.")
        with self._lock:
            number = str(next(self._numbers))
            until = None if fault.seconds is None else self._now() + fault.seconds
            self._standing[number] = Standing(number, fault, until)
        return number

    def throttle(self, operation: str = "*", **when: Unpack[When]) -> str:
        """Throttle an operation, or all: ThrottlingException (429), or SlowDown (503) from S3."""
        message = "Too many requests, please wait before trying again."
        return self.add(Error(operation=operation, code="ThrottlingException", message=message, **when))

    def fail(
        self,
        operation: str,
        code: str | None = None,
        *,
        nth: int = 1,
        status: int | None = None,
        message: str | None = None,
        executed: bool = False,
        **when: Unpack[When],
    ) -> str:
        """Fail the n-th call of an operation from now on, with an error code or an HTTP status.

        :param when: ``times`` is the number of calls that fail, from the n-th on; one by default, None for all.
        :param executed: the operation is executed, and only its response is lost.
        """
        if code is None and status is None:
            code = "InternalServerException"
        when.setdefault("times", 1)
        what = Error(
            operation=operation, skip=nth - 1, code=code, status=status, message=message, executed=executed, **when
        )
        return self.add(what)

    def drop(self, operation: str, *, nth: int = 1, executed: bool = True, **when: Unpack[When]) -> str:
        """Execute the n-th call, then close the connection without a response; once, unless ``times`` is given."""
        when.setdefault("times", 1)
        return self.add(Drop(operation=operation, skip=nth - 1, executed=executed, **when))

    def delay(self, operation: str, by: float, **when: Unpack[When]) -> str:
        """Delay responses.

        :param by: in seconds of the computer, whatever the clock.
        """
        return self.add(Delay(operation=operation, delay=by, **when))

    def hide_new_jobs(self, seconds: float) -> str:
        """Hide customization jobs from List and Get until they are this many seconds old."""
        return self.add(Hide(operation="[GL]*ModelCustomizationJob*", age=seconds))

    def fail_job(self, phase: Phase, message: str, *, job: str = "*", times: int | None = 1) -> str:
        """Fail jobs when they reach a phase; copies, imports, custom models and deployment updates have one phase.

        :param job: the names of the jobs (of copies, custom models, deployments), with ``*`` and ``?``.
        """
        return self.add(FailJob(phase=phase, message=message, job=job, times=times))

    def expire_credentials(self, *, times: int | None = 1) -> str:
        """Return ExpiredTokenException (403), or ExpiredToken (400) from S3."""
        message = "The security token included in the request is expired"
        return self.add(Error(service="*", times=times, code="ExpiredTokenException", message=message))

    def remove(self, id: str) -> bool:  # noqa: A002  # the word for it
        """Remove a fault, and return whether it was active."""
        with self._lock:
            return self._standing.pop(id, None) is not None

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._standing.clear()

    def __iter__(self) -> Iterator[Standing]:
        """Return the active faults, with their counts."""
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
                if isinstance(one.fault, CallFault) and one.fault.concerns(service, operation):
                    _apply(one, plan)
        return plan

    def job_failure(self, job: str, phase: str) -> str | None:
        """Return the message with which a job fails in a phase; None if it does not fail."""
        if not self._standing:
            return None
        with self._lock:
            self._forget_ended()
            for one in self._standing.values():
                fault = one.fault
                if not isinstance(fault, FailJob) or fault.phase != phase or not fnmatchcase(job, fault.job):
                    continue
                if one.strikes():
                    return fault.message or f"The job failed in its phase {phase}."
        return None

    def _forget_ended(self) -> None:
        now = self._now()
        for one in list(self._standing.values()):
            if one.used_up or (one.until is not None and now >= one.until):
                del self._standing[one.id]


def _apply(one: Standing, plan: Plan) -> None:
    fault = one.fault
    if isinstance(fault, Error | Drop) and plan.answer is not None:
        one.seen += 1  # another fault decides the response; this one strikes later
        return
    if not one.strikes():
        return
    match fault:
        case Error() | Drop():
            plan.answer = fault
        case Delay():
            plan.delay += fault.delay
        case Hide():
            plan.age = max(plan.age, fault.age)
    plan.effects = (*plan.effects, fault.effect)
