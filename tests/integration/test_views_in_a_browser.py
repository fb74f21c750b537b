"""The views for users of screen readers and keyboards: Chromium's own accessibility tree, and its Tab key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

from airflow_bedrock import shown
from scripts.live.browser import opened
from scripts.stack import PROJECT, StartError

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(Version(airflow_version) < Version("3.1"), reason="Airflow < 3.1 has no views")
VIEWS = ("job", "jobs", "compare", "models")
STATIC = PROJECT / "airflow_bedrock" / "plugin" / "static"
ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijk"
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/mnopqrstuvwx"
JOB = {
    "status": "InProgress",
    "custom_model_arn": MODEL,
    "artifacts_uri": "s3://bucket/output/",
    "phases": [{"name": "training", "status": "Completed", "started": "2026-01-01T00:00:00+00:00"}],
    "losses_by_step": [[1, 2.5], [2, 1.25]],
    "losses_by_epoch": [{"epoch": 1, "training_loss": 1.75, "validation_loss": 1.5}],
    "asked": {"hyperparameters": {"epochCount": "2"}, "training_data": {"s3Uri": "s3://bucket/train"}},
}
EVALUATION = {
    "verdict": "better",
    "metric": "accuracy",
    "models": {"candidate": {"model": MODEL, "value": 0.75}, "baseline": {"value": 0.5}},
    "report_page": "https://console/report",
}
IDLE = {
    "usd_a_month": 1.95,
    "idle": [
        {"kind": "deployment", "name": "d", "arn": "arn", "region": "us-east-1", "why": "no call", "usd_a_month": 1.95}
    ],
}


def pages() -> dict[str, Any]:
    """Render each view with all that it can show."""
    from airflow_bedrock.plugin import rows
    from airflow_bedrock.plugin.airflow_api import Entry
    from airflow_bedrock.plugin.shapes import checked
    from airflow_bedrock.plugin.web import _page

    def found(key: str, value: dict[str, Any], run: str = "run") -> rows.Pushed:
        known = checked(key, value)
        assert known is not None
        return [(Entry("dag", run, "task", -1, key, "2026-01-01", "2026-01-01"), known)]

    asked = [found(shown.JOB, {**JOB, "job_arn": ARN + end, "job_name": f"job-{end}"}, end) for end in "ab"]
    evaluations, promotions = (
        found(shown.EVALUATION, EVALUATION, "a"),
        found(shown.PROMOTION, {"name": "line", "model_arn": MODEL}),
    )
    one, other = pair = rows.jobs([*asked[0], *asked[1]], evaluations, promotions)
    idle = found(shown.IDLE, IDLE)
    task = {"dag_id": "dag", "run_id": "a", "task_id": "task", "map_index": 0}
    budget = {"month": "2026-01", "settled": 12.5, "reserved": 1.5, "limit": 100.0, "as_of": "2026-01-01"}
    return {
        "job": _page("job.html", job=one, task=task, mapped=[0, 1]),
        "jobs": _page(
            "jobs.html",
            dag_id="dag",
            rows=pair,
            periods={"a": "2026-01", "b": "2026-02"},
            chosen=[],
            begin=rows.Place(15),
            following=rows.Place(30),
        ),
        "compare": _page("compare.html", dag_id="dag", pair=pair, differences=rows.differences(one, other)),
        "models": _page(
            "models.html",
            models=rows.models(promotions, evaluations, idle, None),
            idle=idle[0],
            running=[{**value, "task": entry} for entry, value in asked[0]],
            budget=budget,
        ),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """A browser that is given the views, whatever else it asks for."""
    served = pages()

    def serve(route: Any) -> None:
        name = urlsplit(route.request.url).path.rpartition("/")[2]
        if "compare" in parse_qs(urlsplit(route.request.url).query):
            name = "compare"
        if name in served:
            route.fulfill(body=served[name].body, headers=dict(served[name].headers))
        else:
            route.fulfill(path=STATIC / name) if (STATIC / name).is_file() else route.abort()

    try:
        with opened() as page:
            page.route("**/*", serve)
            yield page
    except StartError as error:
        pytest.skip(str(error))


def visit(browser: Page, view: str) -> None:
    browser.goto(f"http://airflow.example/bedrock/{view}")


NAMED = {"button", "checkbox", "columnheader", "form", "image", "img", "link", "meter", "navigation", "region", "table"}


@pytest.mark.parametrize("view", VIEWS)
def test_a_screen_reader_gets_roles_and_names(browser: Page, view: str) -> None:
    """Chart, tables and their columns, links, buttons and the parts of a page have a role and a name."""
    visit(browser, view)
    session = browser.context.new_cdp_session(browser)
    nodes = [one for one in session.send("Accessibility.getFullAXTree")["nodes"] if not one["ignored"]]
    told = [(one["role"]["value"], one.get("name", {}).get("value", "").strip()) for one in nodes]
    assert [role for role, name in told if role in NAMED and not name] == []
    roles = {role for role, _ in told}
    assert {"main", "heading", "table", "link" if view != "models" else "meter"} <= roles
    assert ("image", "Loss by step") in told or ("img", "Loss by step") in told or view in ("jobs", "models")
    assert view != "jobs" or {"form", "checkbox", "button"} <= roles
    assert browser.evaluate("[document.documentElement.lang, document.querySelectorAll('h1').length]") == ["en", 1]


CLICKABLE = "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), [tabindex]')]"
FOCUSED = f"{CLICKABLE}.indexOf(document.activeElement)"


@pytest.mark.parametrize("view", VIEWS)
def test_the_tab_key_reaches_what_can_be_clicked(browser: Page, view: str) -> None:
    """In the order of the page, each seen to be reached."""
    visit(browser, view)
    count = browser.evaluate(f"{CLICKABLE}.length")
    assert count
    for number in range(count):
        browser.keyboard.press("Tab")
        assert browser.evaluate(FOCUSED) == number
        assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_two_jobs_are_compared_without_a_mouse(browser: Page) -> None:
    """By Tab, Space and Enter alone."""
    visit(browser, "jobs")
    pressed = 0
    while "compare=" not in browser.url:
        browser.keyboard.press("Tab")
        focused = browser.evaluate("document.activeElement.type || ''")
        if focused == "checkbox":
            browser.keyboard.press("Space")
            pressed += 1
        if focused == "submit":
            browser.keyboard.press("Enter")
            browser.wait_for_url("**compare=1**")
    assert pressed == len(parse_qs(urlsplit(browser.url).query)["job"]) == 2
    assert browser.inner_text("h2#differs") == "What differs"
