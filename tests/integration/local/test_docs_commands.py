"""The commands of docs/local-bedrock.md work as they stand there, in an empty folder, and so does its Python.

Its faults run in test_faults.py, and its tests of a DAG in tests/packaging/test_wheel.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from airflow_bedrock.local import LocalBedrock
from tests.integration.local.conftest import wait

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
    with closing(local_bedrock.client("bedrock")) as client:
        job = wait(lambda: client.get_model_customization_job(jobIdentifier="my-job"), "InProgress")
    assert job["status"] == "Completed", job.get("failureMessage")


@pytest.mark.local_bedrock(clock="manual")
def test_its_python_runs(local_bedrock: LocalBedrock) -> None:
    """With what stands around it: a request, a client of IAM, a policy."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
    mine = [code for code in blocks if "def test_" not in code and "local.faults" not in code]
    assert len(mine) == 4
    uri = f"s3://{local_bedrock.bucket}/data.jsonl"
    request = {
        "jobName": "job",
        "customModelName": "model",
        "roleArn": local_bedrock.role_arn,
        "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
        "trainingDataConfig": {"s3Uri": uri},
        "outputDataConfig": {"s3Uri": f"s3://{local_bedrock.bucket}/output"},
    }
    before = local_bedrock.clock.time()
    with closing(local_bedrock.client("s3")) as s3, closing(local_bedrock.client("iam")) as iam:
        s3.put_object(Bucket=local_bedrock.bucket, Key="data.jsonl", Body=b"{}\n")
        allowed = {"Effect": "Allow", "Action": "bedrock:*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [allowed]}
        names = {"request": request, "iam": iam, "json": json, "policy": policy}
        for code in mine:
            names["local"] = local_bedrock
            exec(compile(code, "local-bedrock.md", "exec"), names)  # noqa: S102 - this project's own page
    assert local_bedrock.clock.time() - before == 3600
