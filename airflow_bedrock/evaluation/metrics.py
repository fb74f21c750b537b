"""How good one answer is, 0 to 1, measured against the reference answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

Metric = Callable[[str, str], float]
"""``metric(answer, reference)``: 0 for the worst, 1 for the best."""

# A model that was asked for a label may quote it, emphasise it, or end it with a full stop; that is not what is
# judged. Signs stay: -1 is not 1.
_EDGES = " .,:;!?\"'`*_()[]{}\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2026"


def exact_match(answer: str, reference: str) -> float:
    """Return 1 if the answer is the reference but for case, Unicode form, white space and punctuation around it."""
    return float(_plain(answer) == _plain(reference))


def _plain(text: str) -> str:
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    # A reference that is nothing but punctuation, such as "?", is compared as it is.
    return folded.strip(_EDGES) or folded


def _chrf() -> Metric:
    from sacrebleu.metrics.chrf import CHRF

    scorer = CHRF()
    return lambda answer, reference: float(scorer.sentence_score(answer, [reference]).score) / 100


METRICS: dict[str, Callable[[], Metric]] = {"exact_match": lambda: exact_match, "chrf": _chrf}
"""By name, what makes the metric. chrF is sacrebleu's, of single answers, and needs the extra ``eval``."""


def metric(name: str) -> Metric:
    """Return a metric by its name.

    :raises ValueError: there is no such metric.
    :raises ImportError: it needs a package that is not installed.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}, only {', '.join(METRICS)}")
    try:
        return METRICS[name]()
    except ImportError as error:
        raise ImportError(f"metric {name} needs {error.name}: install airflow-bedrock[eval]") from error
