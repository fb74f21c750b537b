"""Metrics: on real text their numbers are those of the libraries; what surrounds an answer does not count."""

from __future__ import annotations

import builtins
import json
import re
import sys
from typing import Any

import numpy as np  # noqa: TID253  # a test
import pytest
import sacrebleu  # noqa: TID253  # a test
from botocore.loaders import create_loader
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # noqa: TID253  # a test; no stubs
from sklearn.metrics import (  # type: ignore[import-untyped]  # noqa: TID253  # a test; no stubs
    f1_score,
    precision_recall_fscore_support,
)

from airflow_bedrock.evaluation.labels import MacroF1
from airflow_bedrock.evaluation.metrics import METRICS, Metric, check, exact_match, metric
from airflow_bedrock.evaluation.records import record_of
from airflow_bedrock.evaluation.scoring import Rules, Scoring


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    """Sentences of AWS's documentation, and what is left of them without some of their words."""
    operations = create_loader().load_service_model("bedrock", "service-2")["operations"]
    wanted = [re.sub(r"<[^>]+>", " ", one["documentation"])[:300] for one in list(operations.values())[:60]]
    return [
        (" ".join(word for place, word in enumerate(text.split()) if (place + number) % 5), text)
        for number, text in enumerate(wanted)
    ]


def value(one: Metric, texts: list[tuple[str, str]]) -> float:
    for _, reference in texts:
        one.learn(reference)
    rows = [one.statistics(answer, reference, one.score(answer, reference)) for answer, reference in texts]
    return float(one.value(np.array([*np.sum(rows, axis=0), len(rows)])))


def test_text_metrics_are_those_of_the_libraries(texts: list[tuple[str, str]]) -> None:
    """BLEU and chrF of the corpus and of sentences, and ROUGE-L."""
    said, wanted = [answer for answer, _ in texts], [reference for _, reference in texts]
    assert value(metric("corpus_bleu"), texts) == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score / 100)
    assert value(metric("corpus_chrf"), texts) == pytest.approx(sacrebleu.corpus_chrf(said, [wanted]).score / 100)
    for name, theirs in (("sentence_bleu", sacrebleu.sentence_bleu), ("chrf", sacrebleu.sentence_chrf)):
        mean = np.mean([theirs(answer, [reference]).score / 100 for answer, reference in texts])
        assert value(metric(name), texts) == pytest.approx(mean)
    rouge = RougeScorer(["rougeL"])
    mean = np.mean([rouge.score(reference, answer)["rougeL"].fmeasure for answer, reference in texts])
    assert value(metric("rouge_l"), texts) == pytest.approx(mean)


@given(st.lists(st.tuples(st.text("ab ", max_size=12), st.text("ab ", min_size=1, max_size=12)), min_size=1))
def test_corpus_metrics_agree_on_any_text(texts: list[tuple[str, str]]) -> None:
    """Where nothing matches, or answers are shorter than the n-grams, too."""
    said, wanted = [answer for answer, _ in texts], [reference for _, reference in texts]
    expected = sacrebleu.corpus_bleu(said, [wanted]).score / 100
    assert value(metric("corpus_bleu"), texts) == pytest.approx(expected, abs=1e-9)
    expected = sacrebleu.corpus_chrf(said, [wanted]).score / 100
    assert value(metric("corpus_chrf"), texts) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from("abcx"), st.sampled_from("abc")), min_size=1))
def test_macro_f1_is_that_of_scikit_learn(texts: list[tuple[str, str]]) -> None:
    """Over the labels of the references; an answer that is not one of them is wrong, and no label."""
    labels = sorted({reference for _, reference in texts})
    said, wanted = [answer for answer, _ in texts], [reference for _, reference in texts]
    expected = f1_score(wanted, said, labels=labels, average="macro", zero_division=0)
    assert value(metric("macro_f1"), texts) == pytest.approx(expected)
    one = MacroF1()
    for reference in labels:
        one.learn(reference)
    sums = np.sum([one.statistics(answer, reference, 0) for answer, reference in texts], axis=0)
    columns = precision_recall_fscore_support(wanted, said, labels=labels, zero_division=0)
    names = ("precision", "recall", "f1", "support")
    for found, figures in zip(one.by_label(sums), zip(*columns, strict=True), strict=True):
        assert [found[name] for name in names] == pytest.approx(list(figures))


def test_macro_f1_is_for_labels() -> None:
    """References that are all different are no labels."""
    one = metric("macro_f1")
    for number in range(200):
        one.learn(str(number))
    with pytest.raises(ValueError, match="more than 200"):
        one.learn("200")


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("yes", "yes", 1),
        (" Yes.\n", "yes", 1),
        ('"YES"', "yes", 1),
        ("“yes”", "yes", 1),
        ("ﬁne", "FINE", 1),
        ("two  words", "two words", 1),
        ("yes, it is", "yes", 0),
        ("", "yes", 0),
        ("+", "+", 1),
        ("+", "-", 0),
        ("?", "!", 0),
        ("-1", "1", 0),
        ("**-1**.", "-1", 1),
    ],
)
def test_exact_match(answer: str, reference: str, score: float) -> None:
    """What surrounds a label does not count; what it says does."""
    assert exact_match(answer, reference) == score


@pytest.mark.parametrize(
    ("given_metric", "answer", "reference", "score"),
    [
        ("token_f1", "The cat, sat!", "cat sat down", 0.8),
        ("token_f1", "", "", 1),
        ("token_f1", "", "cat", 0),
        ("json_valid", "```json\n[1]\n```", "", 1),
        ("json_valid", "[1", "", 0),
        ("json_valid", '{"a": NaN}', "", 0),
        ("json_valid", "-Infinity", "", 0),
        ("json_valid", "[" * 100_000, "", 0),
        ("json_fields", '{"a": 1, "b": 2}', '{"b": 3, "a": 1}', 0.5),
        ("json_fields", '{"a": 1, "x": 0}', '{"a": 1}', 0.5),
        ("json_fields", '{"a": true}', '{"a": 1}', 0),
        ("json_fields", "no", '{"a": 1}', 0),
        ({"name": "json_fields", "fields": ["a"]}, '{"a": [1], "b": 2}', '{"a": [1], "b": 3}', 1),
        ({"name": "regex", "pattern": r"\d{3}"}, "call 911 now", "", 1),
        ({"name": "regex", "pattern": r"\d{3}"}, "call 91", "", 0),
        ({"name": "regex", "pattern": r"answer: (\w+)"}, "So the answer: YES.", "yes", 1),
        (lambda answer, reference: len(answer) / len(reference), "ab", "abcd", 0.5),
    ],
)
def test_metrics_by_name_and_by_function(given_metric: Any, answer: str, reference: str, score: float) -> None:
    """Each of them as its documentation has it."""
    assert metric(given_metric).score(answer, reference) == pytest.approx(score)


REFERENCED = sorted({*METRICS} - {"regex", "json_valid", "json_fields", "judge", "embedding_similarity"})


@pytest.mark.parametrize("name", REFERENCED)
@settings(max_examples=20)
@given(
    text=st.text("abc äß", min_size=1).filter(lambda text: re.search("[bc]", text)), other=st.text("xyz", min_size=1)
)
def test_metrics_go_from_0_to_1(name: str, text: str, other: str) -> None:
    """A metric is 1 for the reference itself, and 0 for something that shares nothing with it."""
    one = metric(name)
    assert one.score(text, text) == pytest.approx(1)
    assert one.score(other, text) == pytest.approx(0, abs=0.2 if name.endswith("bleu") else 1e-9)  # BLEU is smoothed


@pytest.mark.parametrize(
    ("given_metric", "message"),
    [
        ("blue", "unknown metric 'blue'; allowed: exact_match, "),
        ({"pattern": "x"}, "unknown metric None"),
        ({"name": "regex"}, "missing a required argument: 'pattern'"),
        ({"name": "regex", "pattern": "("}, "metric regex: missing \\)"),
        ({"name": "chrf", "order": 3}, "chrf: got an unexpected keyword argument 'order'"),
        (7, "unknown metric 7"),
        ({"name": "judge", "model_id": "us.amazon.nova-pro-v1:0"}, "to other regions"),
        ({"name": "judge", "model_id": "global.anthropic.claude-sonnet-4-5-20250929-v1:0"}, "to other regions"),
        ({"name": "judge"}, "missing a required argument: 'model_id'"),
        ({"name": "judge", "model_id": "a", "rubric": " "}, "judge: rubric: "),
        ({"name": "judge", "model_id": "a", "rubric": ""}, "judge: rubric: "),
        ({"name": "judge", "model_id": "a", "pairwise": "no"}, "judge: pairwise: Expected `bool`, got `str`"),
        ({"name": "judge", "model_id": "a", "max_tokens": 0}, "judge: max_tokens: "),
        ({"name": "json_fields", "fields": "city"}, "json_fields: fields: "),
        ({"name": "json_fields", "fields": []}, "json_fields: fields: "),
    ],
)
def test_an_invalid_metric_is_refused(given_metric: Any, message: str) -> None:
    """It is reported before any library is loaded."""
    with pytest.raises(ValueError, match=message):
        check(given_metric)


def test_a_judge_may_be_an_inference_profile_where_that_is_allowed() -> None:
    """Then its prompts and answers may leave the region."""
    check({"name": "judge", "rubric": "5: right.", "model_id": "us.amazon.nova-pro-v1:0", "allow_cross_region": True})


@pytest.mark.parametrize(
    ("said", "grade"),
    [
        ('{"score": 4}', 0.75),
        ('Sure! ```json\n{ "score" : "4" }\n```', 0.75),
        ('{"score": 4.0}', 0.75),
        ('{"score": 4}, so the grade is {"score": 4}', 0.75),
        ('I was told {"score": 5}, but: {"score": 2}', 0.5),
        *[(text, 0.5) for text in ("", "4", "score: 4", '{"score": 4.5}', '{"score": 10}', '{"score": 0}', "ß")],
        ('{"score": ' + "[" * 10_000, 0.5),
    ],
)
def test_what_a_judge_says(said: str, grade: float) -> None:
    """A grade is a whole number from 1 to 5; if an answer has no grade or two, all answers get the same."""
    one: Any = metric({"name": "judge", "model_id": "amazon.nova-pro-v1:0"})
    record = record_of(1, {"prompt": "hi"})
    found = one.scores(record, {"candidate": "a", "baseline": "b"}, [said, '{"score": 3}'])
    assert found.scores["candidate"] == grade
    assert one.result()["unreadable"] == (grade == 0.5)


@pytest.mark.parametrize(("refused", "verdict"), [(2, "better"), (60, "undecided")])
@pytest.mark.parametrize("pairwise", [False, True])
def test_a_judge_that_refuses_makes_no_model_better(refused: int, verdict: str, pairwise: bool) -> None:
    """Of what it does not judge it might have said that the candidate is worse; few such records change nothing."""
    judge: Any = metric({"name": "judge", "model_id": "amazon.nova-pro-v1:0", "pairwise": pairwise})
    scoring = Scoring(["candidate", "baseline"], [judge], Rules())
    replies = ['{"better": "A"}', '{"better": "tie"}'] if pairwise else ['{"score": 4}', '{"score": 3}']
    texts = {"candidate": "a", "baseline": "b"}
    for number in range(1, 101):
        said = ["I cannot judge that.", replies[1]] if number <= refused else replies
        scores = judge.scores(record_of(number, {"prompt": "hi"}), texts, said)
        scoring.add(number, None, texts, asked={"judge": scores})
    result = scoring.result()
    assert result["verdict"] == verdict
    assert ("unreadable replies of the judge" in result["reason"]) is (verdict == "undecided")
    assert judge.result()["unreadable"] == refused


def test_what_a_judge_is_shown() -> None:
    """The system prompt too, by which an answer may be right; answers that are the same need no judge."""
    judge: Any = metric({"name": "judge", "model_id": "amazon.nova-pro-v1:0", "pairwise": True})
    record = record_of(1, {"system": "Answer in German.", "prompt": "hi", "completion": "Hallo"})
    asked = judge.requests(record, {"candidate": "Tag", "baseline": "Hi"})
    shown = [json.loads(one["messages"][0]["content"][0]["text"]) for one in asked]
    given = {"system prompt": "Answer in German.", "question": "hi", "reference": "Hallo"}
    assert shown == [{**given, "A": "Tag", "B": "Hi"}, {**given, "A": "Hi", "B": "Tag"}]
    same = {"candidate": "Hallo", "baseline": "Hallo"}
    assert judge.requests(record, same) == []
    assert judge.scores(record, same, []) == ({"candidate": 0.5, "baseline": 0.5}, 0)
    assert judge.result()["unreadable"] == 0


def test_a_judge_that_grades_is_given_the_rubric_and_each_answer() -> None:
    """And the form of its reply."""
    judge: Any = metric({"name": "judge", "model_id": "amazon.nova-pro-v1:0", "rubric": "It has to be kind."})
    asked = judge.requests(record_of(1, {"prompt": "hi"}), {"candidate": "Tag", "baseline": "Hi"})
    for request, answer in zip(asked, ("Tag", "Hi"), strict=True):
        assert json.loads(request["messages"][0]["content"][0]["text"])["answer"] == answer
        assert "by this rubric:\nIt has to be kind.\nReply with JSON alone" in request["system"][0]["text"]


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (('{"better": "A"}', '{"better": "B"}'), "could lower it by 0.7000"),
        (('{"better": "B"}', '{"better": "A"}'), "the interval does not lie above 0."),
    ],
)
def test_the_reason_names_the_judge_where_it_alone_is_why(replies: tuple[str, str], reason: str) -> None:
    """Of ten pairs it judges three; the candidate wins all of them, or wins and loses in turn."""
    judge: Any = metric({"name": "judge", "model_id": "amazon.nova-pro-v1:0", "pairwise": True})
    scoring = Scoring(["candidate", "baseline"], [judge], Rules())
    texts = {"candidate": "a", "baseline": "b"}
    won = ('{"better": "A"}', '{"better": "B"}')
    for number in range(1, 101):
        said = ("?", "?") if number % 10 > 2 else won if number % 2 else replies
        scores = judge.scores(record_of(number, {"prompt": "hi"}), texts, said)
        scoring.add(number, None, texts, asked={"judge": scores})
    result = scoring.result()
    assert result["verdict"] == "undecided"
    assert reason in result["reason"]


def test_a_slice_that_the_judge_does_not_judge_makes_no_model_better() -> None:
    """It judges the English records alone, say: of the others it is not known that the candidate is no worse."""
    judge: Any = metric({"name": "judge", "model_id": "amazon.nova-pro-v1:0", "pairwise": True})
    scoring = Scoring(["candidate", "baseline"], [judge], Rules(max_slice_loss=0.05))
    texts = {"candidate": "a", "baseline": "b"}
    for number in range(1, 101):
        language = "de" if number % 10 == 0 else "en"
        said = ['{"besser": "A"}'] * 2 if language == "de" else ['{"better": "A"}', '{"better": "B"}']
        scores = judge.scores(record_of(number, {"prompt": "hi"}), texts, said)
        scoring.add(number, None, texts, slice_name=language, asked={"judge": scores})
    result = scoring.result()
    assert (result["verdict"], result["slices"]["de"]["doubt"], result["slices"]["en"]["doubt"]) == ("undecided", 1, 0)
    assert "worse by more than 0.05 on: de (-1.0000)" in result["reason"]


def test_a_function_that_fails_is_named_without_the_text() -> None:
    """Its own message may hold the answer."""

    def picky(answer: str, reference: str) -> float:
        raise RuntimeError(f"cannot score {answer}")

    with pytest.raises(ValueError, match=r"metric picky failed: RuntimeError$") as caught:
        metric(picky).score("secret", "")
    assert caught.value.__cause__ is None
    with pytest.raises(ValueError, match="not a number"):
        metric(lambda answer, reference: float("nan")).score("", "")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sacrebleu, the error says what to install."""
    real = builtins.__import__

    def without_sacrebleu(name: str, *args: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args)

    monkeypatch.delitem(sys.modules, "airflow_bedrock.evaluation.text", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_sacrebleu)
    with pytest.raises(ImportError, match=r"airflow-bedrock\[evaluation\]"):
        metric("chrf")
