"""The report: whole without network and script, whatever texts it shows, and readable in a browser."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from rich.console import Console

from airflow_bedrock.evaluation.bars import bars
from airflow_bedrock.evaluation.inference import Inference, Progress
from airflow_bedrock.evaluation.report import markdown, page, sections
from tests.evaluated import evaluate, records

EVIL = '</td><script>alert("x")</script>| <img src=https://example.com/x> **bold** ä'
BROWSER = shutil.which("chromium") or ""
LOSSES = [{"epoch": n, "training_loss": 2 / n, "validation_loss": 2.1 / n} for n in (1, 2, 3)]


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
    result, texts = evaluate(tmp_path_factory.mktemp("report"), records(60), wrong=EVIL)
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
    """Headless Chromium makes a PDF of several pages of it. No script runs: not even one that stood in the page."""
    file, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    script = '<script>document.title = "run"</script>'
    file.write_text(report[2].replace("</body>", f"{script}</body>"), encoding="utf-8")
    arguments = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile")
    subprocess.run(
        [BROWSER, *arguments, f"--print-to-pdf={pdf}", file.as_uri()], capture_output=True, check=True, timeout=240
    )
    printed = pdf.read_bytes()
    assert len(re.findall(rb"/Type */Page\b", printed)) >= 2
    assert b"/Title (Evaluation of x)" in printed


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
