"""Ask one model many questions: only those that have no answer yet, and as fast as the model's quota allows.

Answers are stored as they arrive, a batch at a time. If the process ends, only the questions whose answers were not
stored are asked again: those of the last :data:`KEEP_SECONDS` seconds, at most :data:`KEEP_ANSWERS`, and those in
flight.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from airflow_bedrock.evaluation.answer_store import Answer, Answers, Entry, Store, distinct
from airflow_bedrock.evaluation.bill import Bill, Rate
from airflow_bedrock.evaluation.pace import Pace
from airflow_bedrock.jobs.no_response import NoResponseTimeout

log = logging.getLogger(__name__)

KEEP_ANSWERS = 100
KEEP_SECONDS = 10.0
_REPORT_SECONDS = 30.0
_FETCH_SECONDS = 60.0  # between two reads of other workers' answers, which list all answers of a model
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between two reads of which model answers


class Later(Exception):  # not yet an error
    """A question has no answer yet; a retry may get one.

    :param error: the error to raise when the wait is over.
    :param not_ready: whether the model itself is not ready.
    """

    def __init__(self, error: Exception, *, not_ready: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.not_ready = not_ready


class ModelChangedError(Exception):
    """The model was replaced during the evaluation; some answers are from the old one, some from the new one."""


class ServedModel(NamedTuple):
    """Which model answers, and since when: if two are equal, no other model answered in between."""

    model: str
    since: str


class Model(Protocol):
    """A model that answers questions."""

    @property
    def model_id(self) -> str:
        """The id that is called."""

    def served(self) -> ServedModel | None:
        """Return which model answers now; None if that cannot be determined.

        :raises Later: the service did not respond, but may later.
        """

    def ask(self, request: Mapping[str, Any], key: str) -> Answer:
        """Return the answer to one question.

        :raises Later: the model did not respond, but may later.
        """


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a model.

    :param number: the record's number.
    :param request: the Converse request without the model.
    """

    number: int
    request: Mapping[str, Any]

    @property
    def has_tools(self) -> bool:
        """Whether the model may call tools, which it cannot in a batch inference job."""
        return "toolConfig" in self.request


@dataclass(slots=True)
class Progress:
    """The progress of a model.

    :param total: questions in all.
    :param kept: questions that already had an answer.
    :param answered: questions answered now.
    """

    total: int
    kept: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class _InFlight:
    question: Question
    key: str
    began: float
    reserved: float


class Inference:
    """One model and its answers.

    :param keys: returns the key of a question, given the model itself.
    :param rate: returns the price of a token, given the model itself; None if unknown.
    :param most: maximum number of questions in flight.
    :param no_response_timeout: seconds without a response after which to give up; 0 for never.
    """

    def __init__(
        self,
        model: Model,
        answers: Answers,
        store: Store,
        *,
        keys: Callable[[str, Mapping[str, Any]], str],
        rate: Callable[[str], Rate | None],
        bill: Bill,
        most: int,
        no_response_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self._answers = answers
        self._store = store
        self._keys = keys
        self._rate = rate
        self._bill = bill
        self._spent = 0.0
        self._most = most
        self._timeout = NoResponseTimeout(no_response_timeout)
        self._clock = clock
        self._pace = Pace(most, lambda: random.uniform(0.8, 1.2))  # noqa: S311  # jitter, not a secret
        self._stopped = threading.Event()
        self._in_flight: dict[Future[Answer], _InFlight] = {}
        self._again: deque[Question] = deque()
        self._unkept: list[Entry] = []
        self._served: ServedModel | None = None
        self.progress = Progress(0)

    def begin(self) -> None:
        """Read which model answers, and the answers that it has given before."""
        self._served = self._served_model()
        if self._served is not None:
            self._store.fetch(self._served.model, self._answers)

    @property
    def answered_by(self) -> str:
        """The model that answers, not the id that is called; that id if the model is unknown."""
        return self._served.model if self._served else self.model.model_id

    @cached_property
    def rate(self) -> Rate | None:
        """The price of a token; None if unknown. Read it after :meth:`begin`."""
        return self._rate(self.answered_by)

    @property
    def spent(self) -> float | None:
        """What the model has cost so far, in US dollars; None if its price is unknown."""
        return None if self.rate is None else self._spent

    def most(self, question: Question) -> float:
        """Return the approximate maximum cost of a question, in US dollars; 0 if the price is unknown."""
        return self.rate.most(question.request) if self.rate else 0.0

    def cost(self, answer: Answer) -> float:
        """Return what an answer has cost, in US dollars; 0 if the price is unknown."""
        return self.rate.cost(answer.input_tokens, answer.output_tokens) if self.rate else 0.0

    def key(self, question: Question) -> str:
        """Return the key of an answer: the same for all records with the same question."""
        return self._keys(self.answered_by, question.request)

    def answer(self, question: Question) -> Answer | None:
        """Return the answer to a question, if there is one."""
        return self._answers.get(self.key(question))

    def unanswered(self, questions: Iterable[Question]) -> Iterator[Question]:
        """Return the questions without an answer, each once, even if several records have it."""
        return distinct((one for one in questions if self.answer(one) is None), self.key)

    def keep(self, found: Iterable[tuple[Question, Answer]]) -> None:
        """Keep answers of this model from another source."""
        entries = [Entry(self.key(question), answer) for question, answer in found]
        self._answers.add(entries)
        if entries:
            self._store.keep(self.answered_by, entries, self._answers)

    def stop(self) -> None:
        """Start no more questions."""
        self._stopped.set()

    def run(self, questions: Iterator[Question], total: int) -> None:
        """Ask all questions without an answer; on a failure, wait for those in flight and keep their answers.

        :raises ModelChangedError: the model was replaced.
        :raises Exception: whatever the model raised.
        """
        self.progress = Progress(total)
        self._began = self._kept_at = self._reported_at = self._fetched_at = self._clock()
        with ThreadPoolExecutor(self._most) as pool:
            try:
                more = True
                while self._in_flight or ((more or self._again) and not self._stopped.is_set()):
                    more = self._fill(pool, questions)
                    self._collect()
                    self._keep_in_time()
            finally:
                for future in as_completed([*self._in_flight]):
                    self._finish(future, raises=False)
                try:
                    self._keep()
                except Exception:
                    log.warning("%d answers of model %s were not kept", len(self._unkept), self.model.model_id)
                    raise
        if not self._stopped.is_set():  # all were asked; several records may have had the same question
            self.progress.total = self.progress.answered + self.progress.kept
        self._report()

    def _fill(self, pool: ThreadPoolExecutor, questions: Iterator[Question]) -> bool:
        """Start as many questions as allowed; return whether there are more."""
        while not self._stopped.is_set() and self._pace.wait(self._clock(), len(self._in_flight)) == 0:
            question = self._again.popleft() if self._again else next(questions, None)
            if question is None:
                return False
            key = self.key(question)
            if any(one.key == key for one in self._in_flight.values()):
                continue  # the same question twice
            if self._answers.get(key) is not None:
                self.progress.kept += 1
                continue
            most = self.most(question)
            self._bill.reserve(most)
            future = pool.submit(self.model.ask, question.request, key)  # all else runs in the thread of run
            self._in_flight[future] = _InFlight(question, key, self._clock(), most)
        return True

    def _collect(self) -> None:
        """Collect all results; wait for one, but no longer than until another question may start."""
        pause = min(self._pace.wait(self._clock(), len(self._in_flight)) or 1.0, 1.0)
        if not self._in_flight:
            self._stopped.wait(pause if self._again else 0)
            return
        for future in wait(self._in_flight, pause, FIRST_COMPLETED).done:
            self._finish(future)

    def _finish(self, future: Future[Answer], *, raises: bool = True) -> None:
        pending, error = self._in_flight.pop(future), future.exception()
        answer = None if error else future.result()
        now, cost = self._clock(), self.cost(answer) if answer else 0.0
        self._bill.settle(pending.reserved, cost)
        self._spent += cost
        if answer is not None:
            self._pace.answered()
            self._timeout.answered()
            self.progress.answered += 1
            entry = Entry(pending.key, answer)
            if self._served is not None:
                self._unkept.append(entry)
            if raises:  # otherwise nobody reads them, and the disk may be full
                self._answers.add([entry])
            return
        if not raises:
            return
        if not isinstance(error, Later):
            assert error is not None  # noqa: S101 - there is no answer
            error.args = (f"Record {pending.question.number}: {error}",)
            raise error
        self._again.append(pending.question)
        self._pace.refused(now, pending.began)
        self._check_timeout(error, now)

    def _check_timeout(self, later: Later, now: float) -> None:
        if self._timeout.gives_up(now, f"from model {self.model.model_id}", later, log.info) is not None:
            raise later.error

    def _keep_in_time(self) -> None:
        now = self._clock()
        if len(self._unkept) >= KEEP_ANSWERS or (self._unkept and now - self._kept_at >= KEEP_SECONDS):
            self._keep()
        if now - self._reported_at >= _REPORT_SECONDS:
            self._report()

    def _keep(self) -> None:
        """Keep the new answers, if the model is the same as at the first question."""
        self._kept_at = self._clock()
        if not self._unkept:
            return
        served = self._served_model()
        if served is None:
            log.warning("Cannot determine which model is behind %s: its answers are not kept", self.model.model_id)
            return
        if served != self._served:
            self._unkept.clear()
            raise ModelChangedError(self.model.model_id)
        self._store.keep(served.model, self._unkept, self._answers)
        self._unkept.clear()
        if self._kept_at - self._fetched_at >= _FETCH_SECONDS:
            self._fetched_at = self._kept_at
            self._store.fetch(served.model, self._answers)

    def _served_model(self) -> ServedModel | None:
        """Return which model answers now; retry until the service responds."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return self.model.served()
            except Later as later:
                self._check_timeout(later, self._clock())
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _report(self) -> None:
        self._reported_at = now = self._clock()
        progress = self.progress
        rate = progress.answered / max(0.001, now - self._began)
        log.info(
            "Model %s: %d asked, %d kept from before, %.1f per second, %d remaining, %s spent",
            self.model.model_id,
            progress.answered,
            progress.kept,
            rate,
            progress.total - progress.answered - progress.kept,
            "an unknown amount" if self.spent is None else f"{self.spent:.4f} USD",
        )
