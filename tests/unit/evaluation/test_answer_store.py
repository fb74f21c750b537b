"""The store of answers: found by content, never overwritten by others, and what cannot be read is asked again."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.evaluation.answer_store import Answer, Answers, Entry, Store, key_of
from tests.evaluated import Memory

packed = partial(gzip.compress, mtime=0)  # the time would stand in the names of tests, another in each process
REQUEST = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 9}}


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


@settings(max_examples=20)
@given(st.lists(st.builds(Answer, st.text(), st.text(), st.integers(0, 9), st.integers(0, 9), st.none())))
def test_what_is_kept_is_what_is_found(given_answers: list[Answer]) -> None:
    """By another worker, in another process; of the model alone."""
    memory = Memory()
    entries = [Entry(f"{place:064x}", answer) for place, answer in enumerate(given_answers)]
    with tempfile.TemporaryDirectory() as folder:
        one, other, third = (Answers(Path(folder, name)) for name in "abc")
        store = Store(memory, "dev/eu", 1)
        store.keep("m", entries, one)
        Store(memory, "dev/eu", 1).keep("m", entries, one)
        assert len(memory) == 1, "the same batch is the same object"
        store.fetch("another", other)
        Store(memory, "prod", 1).fetch("m", other)
        assert all(other.get(entry.key) is None for entry in entries)
        for answers in (other, third):  # such as those of two deployments of one model
            store.fetch("m", answers)
            assert [answers.get(entry.key) for entry in entries] == given_answers
        for answers in (one, other, third):
            answers.close()


def test_a_batch_with_any_byte_changed_is_asked_again(tmp_path: Path) -> None:
    """Whichever it is: an answer that was changed is never taken for one that was given."""
    memory, kept = Memory(), Answer("yes " * 20, "end_turn", 3, 1)
    with closing(Answers(tmp_path / "kept")) as answers:
        Store(memory, "dev", 1).keep("m", [Entry("0", kept)], answers)
    (name, content), *_ = memory.items()
    for place in range(len(content)):
        memory[name] = content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]
        with closing(Answers(tmp_path / str(place))) as answers:
            Store(memory, "dev", 1).fetch("m", answers)
            assert answers.get("0") in (None, kept), place


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", packed(b"[1, 2"), packed(b'["key", {"text": 7}]'), packed(b"x")[:9]],
)
def test_a_batch_that_cannot_be_read_is_asked_again(
    content: bytes, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names it, and the other batches are read; one that has expired is not used though it stays."""
    memory = Memory(deletable=False)
    store = Store(memory, "dev", 1)
    store.keep("m", [Entry("0", Answer("yes", "end_turn"))], answers)
    (name,) = memory
    memory[name.replace(".jsonl", "x.jsonl")] = content
    memory[name.replace(name.split("/")[2], "expires=2020-01-01")] = memory[name]
    answers.batches.clear()
    Store(memory, "dev", 1).fetch("m", answers)
    assert answers.get("0") == Answer("yes", "end_turn")
    assert answers.get("1") is None
    assert ("Cannot read the answers" in caplog.text) == bool(content), "an empty batch has no answers"
    assert "allow s3:DeleteObject" in caplog.text


def test_what_has_expired_is_deleted_and_not_used(tmp_path: Path) -> None:
    """Nobody has to remember it."""
    memory = Memory()
    with closing(Answers(tmp_path)) as answers:
        Store(memory, "dev", -1).keep("m", [Entry("0", Answer("yes", "end_turn"))], answers)
    with closing(Answers(tmp_path / "later")) as answers:
        Store(memory, "dev", 1).fetch("m", answers)
        assert answers.get("0") is None
    assert len(memory) == 0
