"""The commands of docs/aws.md make the role and the policies, against Local Bedrock's IAM."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from airflow_bedrock.local import LocalBedrock
from tests.deployed import policy

ROOT = Path(__file__).parents[3]


def test_the_commands_make_role_and_policies(local_bedrock: LocalBedrock) -> None:
    """Word for word: placeholders are filled in, and IAM takes the documents."""
    [commands] = [
        block
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "aws.md").read_text(), flags=re.DOTALL)
        if "create-role" in block
    ]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "AWS_PAGER": ""}
    ran = subprocess.run(
        ["/bin/sh", "-ec", commands], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    with closing(local_bedrock.client("iam")) as iam:
        assert iam.get_role_policy(RoleName="bedrock-customization", PolicyName="data")["PolicyDocument"] == policy(
            "bedrock-role"
        )
        arn = "arn:aws:iam::123456789012:policy/airflow-bedrock"
        made = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
    assert made == policy("airflow")
