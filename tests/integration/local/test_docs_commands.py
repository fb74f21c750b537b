"""The commands of docs/local-bedrock.md work as they stand there, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from airflow_bedrock.local import LocalBedrock

DOCS = (Path(__file__).parents[3] / "docs" / "local-bedrock.md").read_text()


def test_the_first_steps_make_a_job(local_bedrock: LocalBedrock, tmp_path: Path) -> None:
    """Records, a skeleton filled in, and a job that Bedrock takes and that completes."""
    [commands] = [block for block in re.findall(r"```bash\n(.*?)```", DOCS, flags=re.DOTALL) if "skeleton" in block]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["/bin/sh", "-ec", commands],
        cwd=tmp_path,
        env={**os.environ, "PATH": programs, "AWS_PAGER": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert '"jobName": "my-job"' in ran.stdout
    assert json.loads((tmp_path / "job.json").read_text())["roleArn"] == local_bedrock.role_arn
    deadline = time.monotonic() + 120
    with closing(local_bedrock.client("bedrock")) as client:
        while (job := client.get_model_customization_job(jobIdentifier="my-job"))["status"] == "InProgress":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert job["status"] == "Completed", job.get("failureMessage")
