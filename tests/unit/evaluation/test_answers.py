"""The store of answers: found by content, never overwritten by others, and what cannot be read is asked again."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.evaluation.answers import Answer, Answers, Entry, Store, key_of

REQUEST = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 9}}


class Memory(dict[str, bytes]):
    """A folder, and how often each of its objects was written."""

    def names(self, prefix: str) -> Iterator[str]:
        return iter([name for name in self if name.startswith(prefix)])

    def read(self, name: str) -> bytes:
        return self[name]

    def write(self, name: str, content: bytes) -> None:
        assert self.get(name, content) == content, "what is there is not changed"
        self[name] = content

    def delete(self, name: str) -> bool:
        return False


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    answers = Answers(tmp_path / "answers")
    yield answers
    answers.close()


def test_the_key_is_the_content() -> None:
    """The model, each parameter, and the content of what is named by its URI alone; not the order of members."""
    key = key_of("m", REQUEST)
    assert key == key_of("m", dict(reversed(REQUEST.items())))
    others = [
        key_of("other", REQUEST),
        key_of("m", {**REQUEST, "inferenceConfig": {"maxTokens": 8}}),
        key_of("m", REQUEST, ["etag"]),
        key_of("m", REQUEST, ["etag", "etag"]),
    ]
    assert len({key, *others}) == 5


@given(st.lists(st.builds(Answer, st.text(), st.text(), st.integers(0, 9), st.integers(0, 9), st.none())))
def test_what_is_kept_is_what_is_found(given_answers: list[Answer]) -> None:
    """By another worker, in another process; of the model alone."""
    memory = Memory()
    entries = [Entry(f"{place:064x}", answer) for place, answer in enumerate(given_answers)]
    Store(memory, "dev/eu", 1).keep("m", entries)
    Store(memory, "dev/eu", 1).keep("m", entries)
    assert len(memory) == 1, "the same batch is the same object"
    found: dict[str, Answer] = {}

    class Into:
        def add(self, entries: list[Entry]) -> int:
            found.update((entry.key, entry.answer) for entry in entries)
            return len(entries)

    into: Answers = Into()  # type: ignore[assignment]  # the one method that is called
    assert Store(memory, "dev/eu", 1).fetch("other", into) == 0
    assert Store(memory, "prod", 1).fetch("m", into) == 0
    assert Store(memory, "dev/eu", 1).fetch("m", into) == len(entries)
    assert [found[entry.key] for entry in entries] == given_answers


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"[1, 2"), gzip.compress(b'["key", {"text": 7}]'), gzip.compress(b"x")[:9]],
)
def test_a_batch_that_cannot_be_read_is_asked_again(
    content: bytes, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names it, and the other batches are read; one that has expired is not used though it stays."""
    memory = Memory()
    store = Store(memory, "dev", 1)
    store.keep("m", [Entry("0", Answer("yes", "end_turn"))])
    (name,) = memory
    memory[name.replace(".jsonl", "x.jsonl")] = content
    memory[name.replace(name.split("/")[2], "expires=2020-01-01")] = memory[name]
    assert Store(memory, "dev", 1).fetch("m", answers) == 1
    assert answers.get("0") == Answer("yes", "end_turn")
    assert answers.get("1") is None
    assert ("Cannot read the answers" in caplog.text) == bool(content), "an empty batch has no answers"
    assert "allow s3:DeleteObject" in caplog.text
