"""An evaluation in memory, from its file to its result: models that answer at once, and a store that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from airflow_bedrock.evaluation.answer_store import Answer, Answers, Store, key_of
from airflow_bedrock.evaluation.bill import Bill, Rate
from airflow_bedrock.evaluation.inference import Inference, ServedModel
from airflow_bedrock.evaluation.metrics import metric
from airflow_bedrock.evaluation.records import HeldOutRecords
from airflow_bedrock.evaluation.run import Evaluation
from airflow_bedrock.evaluation.scoring import Rules

Lines = Callable[[], Iterator[bytes]]

RIGHT = {"candidate": 9, "baseline": 5, "base": 0}
"""By role, how many of ten records are answered rightly."""


class Memory(dict[str, bytes]):
    """A folder of objects, each of which is written once."""

    def __init__(self, *, deletable: bool = True) -> None:
        super().__init__()
        self._deletable = deletable

    def names(self, prefix: str) -> Iterator[str]:
        return iter([name for name in self if name.startswith(prefix)])

    def read(self, name: str) -> bytes:
        return self[name]

    def write(self, name: str, content: bytes) -> None:
        assert self.get(name, content) == content, "what is there is not changed"
        self[name] = content

    def delete(self, name: str) -> bool:
        if self._deletable:
            del self[name]
        return self._deletable


class Model:
    """A model that answers at once.

    :param wrong: what it says where it is not right.
    """

    def __init__(self, role: str, wrong: str) -> None:
        self.model_id = f"model-{role}"
        self._right = RIGHT[role]
        self._wrong = wrong

    def served(self) -> ServedModel:
        return ServedModel(self.model_id, "")

    def ask(self, request: Mapping[str, Any], key: str) -> Answer:
        number = int(request["messages"][0]["content"][0]["text"].split()[0])
        text = "abc"[number % 3] if number % 10 < self._right else self._wrong
        return Answer(text, "end_turn", 20, number % 7 + 1, 100 + number % 50)


class Nowhere:
    """A folder that keeps nothing."""

    def names(self, prefix: str) -> Iterator[str]:
        return iter(())

    def read(self, name: str) -> bytes:
        raise AssertionError

    def write(self, name: str, content: bytes) -> None:
        assert content

    def delete(self, name: str) -> bool:
        return True


def records(count: int) -> Lines:
    """Return what reads so many records with the labels a, b and c, one half of each kind."""

    def lines() -> Iterator[bytes]:
        for n in range(count):
            yield f'{{"prompt": "{n} question", "completion": "{"abc"[n % 3]}", "half": "h{n % 2}"}}\n'.encode()

    return lines


def evaluate(
    folder: Path, lines: Lines, *, wrong: str = "d", roles: tuple[str, ...] = tuple(RIGHT), **more: Any
) -> tuple[dict[str, Any], dict[int, dict[str, str]]]:
    """Check, price, ask and score; return the result, and the texts that a report may show."""
    bill, file = Bill(), folder / "records.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as held_out:
        held_out.writelines(line.rstrip(b"\n") + b"\n" for line in lines())
    with ExitStack() as stack:
        models = {
            role: Inference(
                Model(role, wrong),
                stack.enter_context(closing(Answers(folder / role))),
                Store(Nowhere(), "test", 1),
                keys=key_of,
                rate=lambda model_id: Rate(1e-6, 2e-6),
                bill=bill,
                most=4,
                no_response_timeout=0,
            )
            for role in roles
        }
        parameters = {"inferenceConfig": {"maxTokens": 64, "temperature": 0.0}}
        evaluation = Evaluation(
            HeldOutRecords(file, parameters, more.pop("max_records", None)),
            models,
            [metric(name) for name in more.pop("metrics", ("exact_match", "macro_f1", "chrf"))],
            Rules(max_slice_loss=0.1),
            slice_by="half",
            **more,
        )
        evaluation.check()
        evaluation.begin()
        missing, most = evaluation.estimate()
        evaluation.ask()
        result = evaluation.score()
        assert missing == sum(model["asked"] for model in result["models"].values())
        assert result["cost"] <= most
        numbers = {entry["record"] for entries in result["most"].values() for entry in entries}
        return result, evaluation.texts(numbers)
