"""Pictures of the views in Airflow's UI, for the docs: run ``make ui``, let two runs end, then run this beside it."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from scripts.airflow_api import connect
from scripts.live.browser import opened
from scripts.stack import PROJECT, StartError, exit_code, is_taken

if TYPE_CHECKING:
    from typing import Literal

IMAGES = PROJECT / "docs" / "images"
DAG = "finetune_support_router"
WAITS = "wait_for_model"


def main() -> int:
    """Take them, of the latest run of the example DAG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of Airflow (default: %(default)s)")
    return exit_code(partial(_take_all, parser.parse_args().url))


def _take_all(url: str) -> int:
    if not is_taken(httpx.URL(url).port or 80):
        raise StartError(f"Nothing answers at {url}. Run `make ui`, and wait until it has started.")
    with connect(url) as api:
        runs = [run["dag_run_id"] for run in api.runs(DAG, order_by="-run_after") if run["state"] == "success"]
    if not runs:
        raise StartError(f"No run of {DAG} has succeeded. Start one in the UI, and run this again when it has ended.")
    task = f"dags/{DAG}/runs/{quote(runs[0])}/tasks/{WAITS}/plugin/bedrock-task-instance"
    _take(url, {"ui-job": task, "ui-jobs": f"dags/{DAG}/plugin/bedrock-dag", "ui-models": "plugin/bedrock-nav"})
    _take(url, {"ui-job-dark": task}, "dark")
    return 0


def _take(url: str, paths: dict[str, str], colors: Literal["light", "dark"] = "light") -> None:
    with opened(color_scheme=colors, viewport={"width": 1280, "height": 900}) as page:
        for name, path in paths.items():
            page.goto(f"{url}/{path}")
            page.frame_locator("iframe").locator("main h1").wait_for()
            page.wait_for_load_state("networkidle")
            page.screenshot(path=IMAGES / f"{name}.png")
            print(f"docs/images/{name}.png")


if __name__ == "__main__":
    sys.exit(main())
