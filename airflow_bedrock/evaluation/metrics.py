"""The metrics of answers by name: of a single answer, and of all answers where that is not the mean.

A metric that needs a library is in another module (:mod:`.text`, :mod:`.labels`), which is imported when it is used.
When a DAG is parsed, only the names are needed.
"""

from __future__ import annotations

import inspect
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec

from airflow_bedrock.base_models import document

if TYPE_CHECKING:
    from airflow_bedrock.evaluation.bootstrap import Floats

Score = Callable[[str, str], float]
"""``score(answer, reference)``: 0 for the worst, 1 for the best."""
_Text = Annotated[str, msgspec.Meta(pattern=r"\S")]
_LARGEST = 1e100  # of a score, so that sums and squares of a million scores are finite


class Metric:
    """The mean of the scores of single answers; other metrics override statistics and value.

    :param name: its name in results.
    :param score: the score of an answer, given the reference.
    :param right_or_wrong: whether a score is either 0 or 1.
    :param needs_reference: whether it needs a reference answer.
    """

    columns = 1
    """Number of statistics of an answer."""

    def __init__(self, name: str, score: Score, *, right_or_wrong: bool = False, needs_reference: bool = True) -> None:
        self.name = name
        self.score = score
        self.right_or_wrong = right_or_wrong
        self.needs_reference = needs_reference

    def learn(self, reference: str) -> None:
        """Add a reference answer, before the first answer is scored.

        :raises ValueError: the metric cannot use this reference, or there are too many different ones.
        """

    def statistics(self, answer: str, reference: str, score: float) -> Sequence[float]:
        """Return the contribution of an answer to the sums for the value."""
        return (score,)

    def value(self, sums: Floats) -> Floats:
        """Return the metric of many answers.

        :param sums: the sums of their statistics, with their number in the last column; each row gives a value.
        """
        mean: Floats = sums[..., 0] / sums[..., -1]
        return mean


# A model may quote a label, emphasise it, or end it with a full stop; that does not
# count. Signs count: -1 is not 1.
_EDGES = " .,:;!?\"'`*_()[]{}\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2026"


def normalised(text: str) -> str:
    """Return an answer without case, Unicode form, white space and punctuation around it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    # A reference of only punctuation, such as "?", is compared unchanged.
    return folded.strip(_EDGES) or folded


def exact_match(answer: str, reference: str) -> float:
    """Return 1 if the answer equals the reference, ignoring case, Unicode form, outer white space and punctuation."""
    return float(normalised(answer) == normalised(reference))


_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"a", "an", "the"})


def token_f1(answer: str, reference: str) -> float:
    """Return the F1 of the words that answer and reference share, as SQuAD counts them: without case, punctuation and
    English articles. Rajpurkar et al., SQuAD, EMNLP 2016.
    """
    answered, wanted = _words(answer), _words(reference)
    if not answered or not wanted:
        return float(answered == wanted)
    return 2 * (answered & wanted).total() / (answered.total() + wanted.total())


def _words(text: str) -> Counter[str]:
    return Counter(word for word in _WORD.findall(text.casefold()) if word not in _ARTICLES)


_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", re.DOTALL)


def parsed(text: str) -> Any:
    """Return the JSON value of an answer, with or without a code fence around it.

    :raises ValueError: it is not JSON.
    """
    fenced = _FENCE.fullmatch(text)
    try:
        return json.loads(fenced[1] if fenced else text, parse_constant=_no_json)
    except RecursionError as error:
        raise ValueError("too deep") from error


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON, although Python writes it")


def json_valid(answer: str, reference: str) -> float:
    """Return 1 if the answer is JSON."""
    try:
        parsed(answer)
    except ValueError:
        return 0.0
    return 1.0


def json_fields(answer: str, reference: str, fields: Sequence[str] | None = None) -> float:
    """Return the share of fields that agree, of all fields in the answer or the reference.

    :param fields: the names of the fields that count; None for all. The values are compared as a whole.
    """
    wanted = parsed(reference)
    try:
        output = parsed(answer)
    except ValueError:
        return 0.0
    if not isinstance(output, dict) or not isinstance(wanted, dict):
        return float(_same_json(output, wanted))
    names = {name for name in (*output, *wanted) if fields is None or name in fields}
    agreed = [name for name in names if name in output and name in wanted and _same_json(output[name], wanted[name])]
    return len(agreed) / len(names) if names else 1.0


def _same_json(one: Any, other: Any) -> bool:
    """Whether two values are equal in JSON: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _regex(pattern: str) -> Metric:
    expression = re.compile(pattern)

    def score(answer: str, reference: str) -> float:
        found = expression.search(answer)
        if found is None or not expression.groups:
            return float(found is not None)
        return exact_match(found[1] or "", reference)

    return Metric("regex", score, right_or_wrong=True, needs_reference=bool(expression.groups))


class _JsonFields(Metric):
    """References must be JSON, which is checked before the first question is paid for."""

    def learn(self, reference: str) -> None:
        try:
            parsed(reference)
        except ValueError:
            raise ValueError("metric json_fields needs a reference answer that is JSON") from None


def _json_fields(fields: Annotated[Sequence[_Text], msgspec.Meta(min_length=1)] | None = None) -> Metric:
    return _JsonFields("json_fields", lambda answer, reference: json_fields(answer, reference, fields))


def _judge(
    model_id: _Text,
    rubric: _Text | None = None,
    pairwise: bool = False,
    label_field: _Text | None = None,
    allow_cross_region: bool = False,
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 64,
) -> Metric:
    return _made("judge:PairwiseJudge" if pairwise else "judge:RubricJudge")(
        "judge", model_id, rubric, label_field, max_tokens
    )


def _embedding_similarity(model_id: _Text = "amazon.titan-embed-text-v2:0", allow_cross_region: bool = False) -> Metric:
    return _made("judge:EmbeddingSimilarity")(model_id)


def _made(place: str) -> Callable[..., Metric]:
    """Return the factory of a metric from a module that needs a library."""
    factory: Callable[..., Metric] = resolve_name(f"airflow_bedrock.evaluation.{place}")
    return factory


def _stays_in_its_region(model_id: str) -> bool:
    """Whether a model answers in the called region, so that the texts go nowhere else."""
    if ":inference-profile/" in model_id or "application-inference-profile" in model_id:
        return False
    return model_id.partition(".")[0] not in (*document().geographies, "global")


METRICS: Mapping[str, Callable[..., Metric]] = {
    "exact_match": lambda: Metric("exact_match", exact_match, right_or_wrong=True),
    "accuracy": lambda: Metric("accuracy", exact_match, right_or_wrong=True),
    "macro_f1": lambda: _made("labels:MacroF1")(),
    "token_f1": lambda: Metric("token_f1", token_f1),
    "rouge_l": lambda: _made("text:rouge_l")(),
    "chrf": lambda: _made("text:sentence_chrf")(),
    "corpus_chrf": lambda: _made("text:corpus_chrf")(),
    "sentence_bleu": lambda: _made("text:sentence_bleu")(),
    "corpus_bleu": lambda: _made("text:corpus_bleu")(),
    "json_valid": lambda: Metric("json_valid", json_valid, right_or_wrong=True, needs_reference=False),
    "json_fields": _json_fields,
    "regex": _regex,
    "judge": _judge,
    "embedding_similarity": _embedding_similarity,
}
"""The factories of the metrics, by name."""

Given = str | Mapping[str, Any] | Score
"""A metric's name; a function of answer and reference; or a mapping of either as ``name``, the metric's parameters, and
``label``, its name in the result if that differs."""


def label(given: Given) -> str:
    """Return the name of a metric in the result."""
    kind = given.get("label", given["name"]) if isinstance(given, Mapping) else given
    return kind if isinstance(kind, str) else str(getattr(kind, "__name__", type(kind).__name__))


def check(given: Given) -> None:
    """Check that a value names a metric, as far as possible without loading a library.

    :raises ValueError: says what it must be.
    """
    name = given.get("name") if isinstance(given, Mapping) else given
    if not callable(name) and (not isinstance(name, str) or name not in METRICS):
        raise ValueError(f"unknown metric {name!r}; allowed: {', '.join(METRICS)}")
    if isinstance(given, Mapping) and not isinstance(given.get("label", ""), str):
        raise ValueError(f"metric {name}: label must be text")
    if callable(name):
        if _parameters(given):
            raise ValueError(f"metric {label(given)} is a function, which takes no parameters")
        return
    maker, parameters = METRICS[name], _parameters(given)
    try:
        inspect.signature(maker).bind(**parameters)
        if name == "regex":
            re.compile(parameters["pattern"])
    except (TypeError, re.error) as error:
        raise ValueError(f"metric {name}: {error}") from error
    kinds = get_type_hints(maker, include_extras=True)
    for parameter, value in parameters.items():
        try:
            msgspec.convert(value, kinds[parameter])
        except msgspec.ValidationError as error:
            raise ValueError(f"metric {name}: {parameter}: {error}") from None
    model_id = parameters.get("model_id")
    if model_id and not parameters.get("allow_cross_region") and not _stays_in_its_region(model_id):
        raise ValueError(
            f"metric {name}: {model_id} may send prompts and answers to other regions. Choose a model of the region, "
            "or set allow_cross_region=True"
        )


def metric(given: Given) -> Metric:
    """Return a metric.

    :raises ValueError: the metric does not exist, or its parameters are wrong.
    :raises ImportError: it needs a package that is not installed.
    """
    check(given)
    name = given["name"] if isinstance(given, Mapping) else given
    if callable(name):
        return _callable(name, label(given))
    try:
        made = METRICS[name](**_parameters(given))
    except ImportError as error:
        raise ImportError(f"metric {name} needs {error.name}: install airflow-bedrock[evaluation]") from error
    made.name = label(given)
    return made


def _parameters(given: Given) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    return {name: value for name, value in given.items() if name not in ("name", "label")}


def _callable(function: Score, name: str) -> Metric:
    def score(answer: str, reference: str) -> float:
        try:
            found = float(function(answer, reference))
        except Exception as error:
            # Without the message and the cause, which may contain the answer.
            raise ValueError(f"metric {name} failed: {type(error).__name__}") from None
        if not abs(found) <= _LARGEST:  # also NaN
            raise ValueError(f"metric {name} returned {found}, which is not a number")
        return found

    return Metric(name, score, needs_reference=False)
