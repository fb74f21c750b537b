"""The shell script in examples/: a model's whole life with the AWS CLI, as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

SCRIPT = Path(__file__).parents[3] / "examples" / "life_of_a_model.sh"


def run(service: Service, folder: Path, data: str, question: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.jsonl").write_text(data)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [SCRIPT, "train.jsonl", question],
        env={**os.environ, **service.local.environment(), "PATH": path, "POLL": "0.2"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_life_of_a_model(service: Service, tmp_path: Path) -> None:
    """The script ends well, prints the trained model's answer and the artefacts, and leaves nothing that costs."""
    question, answer = service.questions(1)[0]
    ended = run(service, tmp_path, service.dataset(60), question)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[lines.index("Ask it") + 1] == answer
    assert "step_wise_training_metrics.csv" in ended.stdout
    (created,) = [
        call
        for call in service.local.calls.of("CreateModelCustomizationJob")
        if call.parameters["jobName"].startswith("life-of-a-model-")
    ]
    name = created.parameters["jobName"]
    assert service.bedrock.list_custom_models(nameContains=name)["modelSummaries"] == []
    assert service.bedrock.list_custom_model_deployments(nameContains=name)["modelDeploymentSummaries"] == []
    assert service.bedrock.get_model_customization_job(jobIdentifier=name)["status"] == "Completed"


def test_a_model_that_is_left_is_named(service: Service, tmp_path: Path) -> None:
    """Its storage is billed, so the user has to know of it."""
    service.local.faults.fail("Converse", "AccessDeniedException")
    ended = run(service, tmp_path, service.dataset(60), "Anything?")
    assert ended.returncode != 0
    assert "AccessDeniedException" in ended.stderr
    (left,) = re.findall(r"^Left, and billed until you delete it: (\S+)$", ended.stderr, re.M)
    (deployment,) = [
        one["customModelDeploymentArn"]
        for one in service.bedrock.list_custom_model_deployments()["modelDeploymentSummaries"]
        if one["modelArn"] == left
    ]
    service.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=deployment)
    service.bedrock.delete_custom_model(modelIdentifier=left)


def test_an_upload_that_fails_says_why(service: Service, tmp_path: Path) -> None:
    """The AWS CLI's option --quiet would leave out the error too."""
    service.local.faults.fail("PutObject", "AccessDenied", status=403)
    ended = run(service, tmp_path, service.dataset(60), "Anything?")
    assert ended.returncode != 0
    assert "AccessDenied" in ended.stderr


def test_a_job_that_fails(service: Service, tmp_path: Path) -> None:
    """With bad data the script fails, prints the service's message, and deploys nothing."""
    before = len(service.local.calls.of("CreateCustomModelDeployment"))
    ended = run(service, tmp_path, "no JSON\n", "Anything?")
    assert ended.returncode == 1
    assert "Data files must conform to JSONL format" in ended.stderr
    assert len(service.local.calls.of("CreateCustomModelDeployment")) == before
