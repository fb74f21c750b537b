"""The report: whole without network and script, whatever texts it shows, and readable in a browser."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from rich.console import Console

from airflow_bedrock.evaluation import Rules, metric
from airflow_bedrock.evaluation.answers import Answer, Answers, Store
from airflow_bedrock.evaluation.bars import bars
from airflow_bedrock.evaluation.bill import Bill, Rate
from airflow_bedrock.evaluation.inference import Inference, Progress, ServedModel
from airflow_bedrock.evaluation.report import markdown, page, sections
from airflow_bedrock.evaluation.run import Evaluation

EVIL = '</td><script>alert("x")</script>| <img src=https://example.com/x> **bold** ä'
BROWSER = shutil.which("chromium") or ""
LOSSES = [{"epoch": n, "training_loss": 2 / n, "validation_loss": 2.1 / n} for n in (1, 2, 3)]


class Fake:
    """A model that answers at once, right as often as it is told."""

    def __init__(self, model_id: str, right: int) -> None:
        self.model_id = model_id
        self._right = right

    def served(self) -> ServedModel:
        return ServedModel(self.model_id, "")

    def ask(self, request: Mapping[str, Any], key: str) -> Answer:
        number = int(request["messages"][0]["content"][0]["text"].split()[0])
        text = "abc"[number % 3] if number % 10 < self._right else EVIL
        return Answer(text, "end_turn", 20, number % 7 + 1, 100 + number % 50)


class Nowhere:
    """A folder that keeps nothing."""

    def names(self, prefix: str) -> Iterator[str]:
        return iter(())

    def read(self, name: str) -> bytes:
        raise AssertionError

    def write(self, name: str, content: bytes) -> None:
        assert EVIL.encode() not in content

    def delete(self, name: str) -> bool:
        return True


def evaluated(tmp_path: Path, count: int = 60) -> tuple[dict[str, Any], dict[int, dict[str, str]]]:
    def lines() -> Iterator[bytes]:
        for n in range(count):
            yield f'{{"prompt": "{n} question", "completion": "{"abc"[n % 3]}", "half": "h{n % 2}"}}\n'.encode()

    bill = Bill(lambda model_id: Rate(1e-6, 2e-6))
    models = {
        role: Inference(
            Fake(f"model-{role}", right),
            Answers(tmp_path / role),
            Store(Nowhere(), "test", 1),
            keys=lambda model, request: f"{model} {request['messages'][0]['content'][0]['text']}",
            bill=bill,
            most=4,
            no_response_timeout=0,
            ready_timeout=0,
        )
        for role, right in (("candidate", 9), ("baseline", 5), ("base", 0))
    }
    metrics = [metric("exact_match"), metric("macro_f1"), metric("chrf")]
    parameters = {"inferenceConfig": {"maxTokens": 64, "temperature": 0.0}}
    rules = Rules(max_slice_loss=0.1)
    evaluation = Evaluation(models, metrics, rules, bill, parameters=parameters, slice_by="half")
    evaluation.check(lines)
    evaluation.begin()
    assert evaluation.estimate(lines)[0] == 3 * count
    evaluation.ask(lines)
    result = evaluation.score(lines)
    numbers = {entry["record"] for entries in result["most"].values() for entry in entries}
    return result, evaluation.texts(lines, numbers)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, str]:
    result, texts = evaluated(tmp_path_factory.mktemp("report"))
    found = sections(result, losses=LOSSES, texts=texts)
    return result, markdown("Evaluation of x", found), page("Evaluation of x", found)


def test_the_report_has_everything_and_needs_nothing(report: tuple[dict[str, Any], str, str]) -> None:
    """Verdict, intervals, slices, labels, costs, losses; no script, no image, no address that is loaded."""
    result, text, html = report
    assert result["verdict"] == "better"
    assert msgspec.json.decode(msgspec.json.encode(result))["records"] == 60
    assert result["cost"] == pytest.approx(
        sum(60 * 20 * 1e-6 + 2e-6 * m["output_tokens"] for m in result["models"].values())
    )
    for wanted in (
        "The candidate is better than the baseline.",
        "all of the interval lies above 0",
        "Where the candidate wins most",
        "Slices",
        "Labels: base",
        "Tokens, money and time",
        "Losses of the training job",
        "maxTokens 64",
    ):
        assert wanted in text
        assert wanted in html
    tags = Tags()
    tags.feed(html)
    assert tags.found & {"script", "img", "link", "iframe"} == set()
    assert [one for one in tags.outside if not one.startswith("#")] == []
    assert html.count("<svg") == 7
    assert "https://example.com" in html, "what a model says is shown as it is, and is nothing but text"
    assert "<script" not in text.replace("\\<script", "")


def test_texts_are_shown_only_if_allowed(report: tuple[dict[str, Any], str, str]) -> None:
    """Without them the records are named by their numbers."""
    result, _, _ = report
    found = sections(result)
    assert EVIL not in markdown("x", found)
    assert "alert" not in page("x", found)
    assert "Their texts are not shown." in page("x", found)


@pytest.mark.skipif(not BROWSER, reason="needs Chromium")
def test_a_browser_shows_it(report: tuple[dict[str, Any], str, str], tmp_path: Path) -> None:
    """Headless Chromium makes a PDF of several pages of it, and loads nothing else."""
    file, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    file.write_text(report[2], encoding="utf-8")
    arguments = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile")
    subprocess.run(
        [BROWSER, *arguments, f"--print-to-pdf={pdf}", file.as_uri()], capture_output=True, check=True, timeout=240
    )
    assert len(re.findall(rb"/Type */Page\b", pdf.read_bytes())) >= 2


@dataclass(eq=False)
class Watched:
    model: Any
    progress: Progress


def test_bars_in_a_terminal() -> None:
    """Each model has one, which ends where all are answered."""
    models = [Watched(SimpleNamespace(model_id=f"m{n}"), Progress(8, 3, 5)) for n in (1, 2)]
    text = io.StringIO()
    with bars(cast("list[Inference]", models), Console(file=text, force_terminal=True, width=80)):
        pass
    assert text.getvalue().count("8/8") >= 2
