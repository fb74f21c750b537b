"""The report: whole without network and script, whatever texts it shows, and readable in a browser."""

from __future__ import annotations

import copy
import html
import io
import json
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

from airflow_bedrock.evaluation import plots
from airflow_bedrock.evaluation.bars import bars
from airflow_bedrock.evaluation.inference import Inference, Progress
from airflow_bedrock.evaluation.report import Section, markdown, page, sections
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
    result, text, shown = report
    assert result["verdict"] == "better"
    assert msgspec.json.decode(msgspec.json.encode(result))["records"] == 60
    assert result["cost"] == pytest.approx(
        sum(60 * 20 * 1e-6 + 2e-6 * m["output_tokens"] for m in result["models"].values())
    )
    for wanted in (
        "The candidate is better than the baseline.",
        "the whole interval lies above 0",
        "Where the candidate wins most",
        "Slices",
        "Labels: base",
        "Tokens, cost and time",
        "Losses of the training job",
        "maxTokens 64",
        "candidate minus baseline, exact",
    ):
        assert wanted in text
        assert wanted in shown
    tags = Tags()
    tags.feed(shown)
    assert tags.found & {"script", "img", "link", "iframe"} == set()
    assert [one for one in tags.outside if not one.startswith("#")] == []
    assert shown.count("<svg") == 7
    assert "https://example.com" in shown, "what a model says is shown as it is, and is nothing but text"
    assert "<script" not in text.replace("\\<script", "")


def test_markdown_has_an_empty_line_after_each_heading_paragraph_and_table() -> None:
    """Without them, GitHub shows the next line as a part of what stands above it."""
    found = markdown("Title", [Section("One", "Text.", [["name", "value"], ["a", 1], ["b", 2]]), Section("Two")])
    table = "| name | value |\n|---|---|\n| a | 1 |\n| b | 2 |"
    assert found == f"# Title\n\n## One\n\nText.\n\n{table}\n\n## Two\n"


def test_a_table_names_the_records_and_both_scores(report: tuple[dict[str, Any], str, str]) -> None:
    """Of those that the candidate wins, and the losses of each epoch with four places."""
    lines = report[1].splitlines()
    heading = next(number for number, line in enumerate(lines) if line.startswith("| record | candidate | baseline |"))
    assert " | 1.000 | 0.000 | " in lines[heading + 2]
    assert any(line.startswith("| 1 | 2.0000 | 2.1000 |") for line in lines)


def test_a_plot_has_the_values_that_it_is_given() -> None:
    """It is an element of the page by itself; its marks say their values to those that hear it."""
    row = {"role": "candidate", "low": -1, "value": 0.5, "high": 1}
    intervals = plots.intervals([row], "role", "role", zero=True)
    losses = plots.losses(LOSSES)
    assert intervals.startswith("<svg")
    assert 'aria-label="zero: 0"' in intervals
    for epoch, loss, of in ((1, 2, "training"), (3, 0.7, "validation")):
        assert f'aria-label="epoch: {epoch}; loss: {loss}; of: {of}"' in losses


def test_what_was_not_judged_is_reported(report: tuple[dict[str, Any], str, str]) -> None:
    """Beside the difference that it could have changed, of all records or of a slice."""
    result = copy.deepcopy(report[0])
    name = next(iter(result["slices"]))
    result["slices"][name]["doubt"] = 0.25
    (said,) = [line for line in markdown("x", sections(result)).splitlines() if "unjudged" in line]
    assert said.startswith(f"| {name} |")
    assert "0.2500 less if all unjudged answers counted against it" in said


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


# Says what a reader would stumble over: words that are cut, labels one over the other, a page that scrolls sideways.
CHECKED = """
const found = [], box = (one) => one.getBoundingClientRect();
for (const cell of document.querySelectorAll("td:not(.long), th")) {
  const text = cell.firstChild, range = document.createRange();
  for (const word of text ? text.data.matchAll(/[^\\s-]+/g) : []) {
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    if (range.getClientRects().length > 1) found.push("cut: " + word[0]);
  }
}
for (const axis of document.querySelectorAll(".role-axis-label")) {
  const labels = [...axis.querySelectorAll("text")].filter((one) => !/rotate/.test(one.getAttribute("transform")));
  for (const [one, next] of labels.slice(1).map((next, n) => [box(labels[n]), box(next)]))
    if (one.right > next.left && next.right > one.left && one.bottom > next.top && next.bottom > one.top)
      found.push("labels one over the other");
}
for (const text of document.querySelectorAll("svg text")) {
  const svg = box(text.closest("svg")), place = box(text);
  if (place.left < svg.left || place.right > svg.right || place.bottom > svg.bottom) found.push(text.textContent);
}
for (const one of document.querySelectorAll("h1, h2, p, table, figure"))
  if (box(one).right > 400) found.push("wider than the window: " + one.tagName);
const style = getComputedStyle(document.body);
document.body.textContent = JSON.stringify([found, style.color, style.backgroundColor]);
"""


@pytest.mark.skipif(not BROWSER, reason="needs Chromium")
def test_a_telephone_shows_it_in_the_dark(report: tuple[dict[str, Any], str, str], tmp_path: Path) -> None:
    """No word is cut, no label hidden, nothing but tables and plots is wider than 400 pixels; texts are light on dark.

    The page is read by a script here, which its policy forbids; so it goes without.
    """
    content = re.sub(r"<meta http-equiv[^>]*>", "<style>html { width: 400px }</style>", report[2])
    file = tmp_path / "report.html"
    file.write_text(content.replace("</html>", f"<script>{CHECKED}</script></html>"), encoding="utf-8")
    arguments = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile")
    dark = "--blink-settings=preferredColorScheme=0"
    ran = subprocess.run(
        [BROWSER, *arguments, dark, "--dump-dom", file.as_uri()], capture_output=True, check=True, timeout=240
    )
    said = re.search(r"<body[^>]*>(.*)</body>", ran.stdout.decode(), re.DOTALL)
    assert said
    assert json.loads(html.unescape(said[1])) == [[], "rgb(230, 237, 243)", "rgb(13, 17, 23)"]


@pytest.mark.parametrize("counts", [(32, 37, 47), (1, 2, 50), (5, 5, 5)])
def test_the_numbers_of_a_confusion_can_be_read(counts: tuple[int, ...]) -> None:
    """White or black, they have a contrast of 3 to 1 at least with their box, however alike the numbers are."""
    svg = plots.confusion([(str(n), str(n), count) for n, count in enumerate(counts)])
    boxes = re.findall(r'fill="rgb\((\d+), (\d+), (\d+)\)"', svg)
    texts = re.findall(r'fill="(white|black)">(\d+)<', svg.replace("#000", "black"))
    assert len(boxes) == len(counts)
    assert [int(count) for _, count in texts] == list(counts)
    for box, (color, _) in zip(boxes, texts, strict=True):
        light = luminance([int(one) for one in box])
        assert (1.05 / (light + 0.05) if color == "white" else (light + 0.05) / 0.05) >= 3


def luminance(rgb: list[int]) -> float:
    """Return the relative luminance of a color, by WCAG."""
    linear = [one / 255 / 12.92 if one <= 10 else ((one / 255 + 0.055) / 1.055) ** 2.4 for one in rgb]
    return sum(share * one for share, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


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
