"""A person at Airflow's own pages: headless Chromium by Playwright, signed in as one of its users."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from scripts.stack import StartError

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECONDS = 300.0  # for whatever a page has to load or to say; the machine may be slow


@contextmanager
def opened(**options: Any) -> Iterator[Page]:
    """Yield an empty page of a browser.

    :param options: of Playwright's ``Browser.new_page``.
    :raises StartError: there is no Playwright or no Chromium on this machine.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise StartError("Playwright is not installed (pip install 'airflow-bedrock[dev]')") from error
    if (chromium := shutil.which("chromium")) is None:
        raise StartError("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(**options)
            page.set_default_timeout(1000 * SECONDS)
            yield page
        finally:
            browser.close()


@contextmanager
def signed_in(url: str, name: str) -> Iterator[Page]:
    """Yield a page of a browser in which that person has signed in to Airflow.

    :param url: of Airflow.
    :param name: of one of the users of its simple auth manager, and the password.
    :raises StartError: there is no Playwright or no Chromium on this machine.
    """
    with opened() as page:
        page.goto(f"{url}/auth/login")
        page.fill("input[name=username]", name)
        page.fill("input[name=password]", name)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda address: "/auth/login" not in address)
        yield page


def answered(page: Page, url: str, dag: str, run: str, task: str, answer: str) -> tuple[str, str]:
    """Press a button of the form with which Airflow asks about a task; return what the form and what Airflow said.

    :param answer: what the button says.
    """
    page.goto(f"{url}/dags/{dag}/runs/{quote(run)}/tasks/{task}/required_actions")
    button = page.get_by_role("button", name=answer, exact=True)
    button.wait_for()
    form = page.inner_text("body")
    button.click()
    said = page.get_by_text("response successful").or_(page.get_by_text("Access Denied"))
    said.first.wait_for()
    return form, said.first.inner_text()
