"""The documentation's site: it builds without a warning, and its reference is whole."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from airflow_bedrock import exceptions, hooks, local, notifications, operators, sensors, triggers

if TYPE_CHECKING:
    from tests.packaging.conftest import Run


def test_the_site_builds_strictly(run: Run, checkout: Path, tmp_path: Path) -> None:
    """Each link leads to a page and an anchor that are there, and each page of docs/ is in the navigation."""
    site = tmp_path / "site"
    run(sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", site, cwd=checkout)
    built = {page.stem for page in site.glob("*.html")} - {"404"}
    assert built == {page.stem for page in (checkout / "docs").glob("*.md")}
    reference = (site / "reference.html").read_text()
    assert ":class:" not in reference
    assert "BedrockHook._" not in reference, "a private name is in the reference"
    for loaded in re.findall(
        r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', (site / "index.html").read_text()
    ):
        pytest.fail(f"a reader's browser asks another site: {loaded}")


@pytest.mark.parametrize("module", [operators, sensors, hooks, triggers, local], ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(checkout: Path, module: ModuleType) -> None:
    """And none that is not there, by the strict build."""
    told = re.findall(rf"^::: {re.escape(module.__name__)}\.(\w+)$", (checkout / "docs/reference.md").read_text(), re.M)
    assert sorted(told) == sorted(module.__all__)


def test_the_reference_has_the_exceptions_and_the_notifier(checkout: Path) -> None:
    """Both kinds that a task raises, and the notifier that reports them."""
    reference = (checkout / "docs/reference.md").read_text()
    for one in (exceptions.BedrockError, exceptions.BedrockFatalError, notifications.BedrockNotifier):
        assert f"::: {one.__module__}.{one.__name__}\n" in reference
