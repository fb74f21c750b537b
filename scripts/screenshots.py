"""Pictures of the views in Airflow's UI, for the docs: run ``make ui``, let two runs end, then run this beside it."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import httpx

from scripts.stack import PROJECT

IMAGES = PROJECT / "docs" / "images"
DAG = "finetune_support_router"
WAITS = "wait_for_model"
DARK = "--blink-settings=preferredColorScheme=0"


def main() -> int:
    """Take them, of the latest run of the example DAG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of Airflow (default: %(default)s)")
    url = parser.parse_args().url
    if (browser := shutil.which("chromium")) is None:
        print("There is no Chromium on PATH. Install it, and run this again.")
        return 1
    with httpx.Client(base_url=url, timeout=60) as client:
        token = client.get("/auth/token").raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        found = client.get(f"/api/v2/dags/{DAG}/dagRuns", params={"order_by": "-run_after"}).raise_for_status().json()
    runs = [run["dag_run_id"] for run in found["dag_runs"] if run["state"] == "success"]
    if not runs:
        print(f"No run of {DAG} has succeeded. Start one in the UI, and run this again when it has ended.")
        return 1
    task = f"dags/{DAG}/runs/{quote(runs[0])}/tasks/{WAITS}/plugin/bedrock-task-instance"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for name, path, *options in (
            ("ui-job", task),
            ("ui-job-dark", task, DARK),
            ("ui-jobs", f"dags/{DAG}/plugin/bedrock-dag"),
            ("ui-models", "plugin/bedrock-nav"),
        ):
            _take(browser, f"{url}/{path}", IMAGES / f"{name}.png", [f"--user-data-dir={profile}", *options])
    return 0


def _take(browser: str, address: str, image: Path, options: list[str]) -> None:
    image.parent.mkdir(parents=True, exist_ok=True)
    fixed = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,900")
    waits = ("--timeout=60000", "--virtual-time-budget=30000")  # milliseconds, until the page has what it asked for
    for _ in range(2):  # at first Airflow signs in, and may lead elsewhere
        subprocess.run(
            [browser, *fixed, *waits, *options, f"--screenshot={image}", address],
            capture_output=True,
            check=True,
            timeout=300,
        )
    print(image.relative_to(PROJECT))


if __name__ == "__main__":
    sys.exit(main())
