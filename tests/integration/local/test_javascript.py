"""AWS's SDK for JavaScript, version 3: a life of a model, for which its runtime client speaks HTTP/2 in clear."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

HERE = Path(__file__).parent / "javascript"
INSTALLED = Path(__file__).parents[3] / ".cache" / "javascript"


@pytest.fixture(scope="module")
def sdk() -> Path:
    """Install what package-lock.json pins, and return the folder; without npm or its registry, skip, but not in CI."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for file in HERE.iterdir():
        shutil.copy(file, INSTALLED)
    if problem := _install():
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)
    return INSTALLED


def _install() -> str | None:
    if not (npm := shutil.which("npm")) or not shutil.which("node"):
        return "Node.js with npm is not installed: https://nodejs.org/"
    pins = (HERE / "package-lock.json").read_bytes()
    stamp = INSTALLED / ".installed"
    if stamp.exists() and stamp.read_bytes() == pins:
        return None
    ran = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=INSTALLED,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if ran.returncode:
        return f"npm cannot install AWS's SDK: {ran.stderr[-500:]}"
    stamp.write_bytes(pins)
    return None


def test_life_of_a_model(service: Service, sdk: Path) -> None:
    """Upload, create, wait, deploy; Converse and ConverseStream, over HTTP/2, give the answer that was learnt."""
    local = service.local
    question, label = service.questions(1)[0]
    given = {
        "bucket": local.bucket,
        "roleArn": local.role_arn,
        "data": service.dataset(120),
        "question": question,
    }
    node = shutil.which("node")
    assert node
    environment = {"PATH": os.environ["PATH"], **local.environment()}
    environment["AWS_REGION"] = environment["AWS_DEFAULT_REGION"]
    ran = subprocess.run(
        [node, "life_of_a_model.js", json.dumps(given)],
        cwd=sdk,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"handler": "h2", "answer": label, "streamed": label}
