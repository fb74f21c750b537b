"""What the commands print of a line of models, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.registry import approve, models, rollback
from airflow_bedrock.registry.approval import Approvals
from airflow_bedrock.registry.register import ModelVersion, Promotion, Register
from tests.unit.registry.lines import START
from tests.unit.registry.world import World

OLD, BAD, CHAMPION, NEW = (
    ModelVersion(model_arn=f"model-{period}", period=f"2026-0{period}", promoted_by="retrain", promoted_at=START)
    for period in range(1, 5)
)
LINE = Register(
    name="router",
    deployment_arn="deployment",
    champion=CHAMPION,
    promotion=Promotion(version=NEW, since=START),
    previous=(BAD, OLD),
    rejected=("model-2",),
)
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Command:
    """Run a command over a registry of one line; return the exit code and what it prints."""

    def run(*arguments: str, register: Register = LINE, **hook: Any) -> tuple[int, str]:
        registry = SimpleNamespace(**{"get": lambda name: register, "names": lambda: [register.name], **hook})
        for module in (models, rollback, approve):
            monkeypatch.setattr(module, "connect", lambda _: registry)
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.err if code else said.out

    return run


def test_a_line_of_models_as_json(command: Command) -> None:
    """By which deployment it serves, and each of its models with what became of it."""
    code, said = command("models", "--format", "json", serving=lambda register, **_: "model-3")
    roles = {"model-4": "promotion in progress", "model-3": "champion", "model-2": "rejected", "model-1": "before"}
    told = {"promoted_by": "retrain", "promoted_at": "2026-01-01T00:00:00Z"}
    versions = [{"role": role, "model_arn": arn, "period": f"2026-0{arn[-1]}", **told} for arn, role in roles.items()]
    line = {"name": "router", "deployment_arn": "deployment", "serving": "model-3", "state": "champion serves"}
    assert (code, json.loads(said)) == (0, [{**line, "versions": versions}])


@pytest.mark.parametrize(
    ("serving", "row"),
    [
        ("model-3", None),
        ("model-4", None),
        (None, "router  nothing serves"),
        ("model-9", "router  model-9 serves, but not by this registry  model-9"),
    ],
)
def test_a_row_says_where_neither_champion_nor_candidate_serves(
    command: Command, serving: str | None, row: str | None
) -> None:
    """Such as after a person has changed the deployment; otherwise each model has its row, and no more."""
    code, said = command("models", serving=lambda register, **_: serving)
    header, *rows = (" ".join(line.split()) for line in said.splitlines())
    assert (code, header) == (0, "LINE STATE PERIOD SINCE PROMOTED BY APPROVED BY MODEL")
    assert rows[2] == "router rejected 2026-02 2026-01-01T00:00:00Z retrain model-2"
    assert rows[4:] == ([" ".join(row.split())] if row else [])


@pytest.mark.parametrize("arguments", [("models",), ("models", "--name", "router"), ("rollback", "router")])
def test_what_cannot_be_read_is_an_error(command: Command, arguments: tuple[str, ...]) -> None:
    """The message is on standard error, and the exit code is 1."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise BedrockError("The registry did not answer")

    said = f"airflow-bedrock {arguments[0]}: The registry did not answer\n"
    assert command(*arguments, get=refuse, roll_back=refuse) == (1, said)


def test_a_rejection_names_its_question(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an id the questions were listed, and the person took the model for rejected."""
    with pytest.raises(SystemExit, match="2"):
        command("approve", "--reject")
    assert "--reject needs the id of a question" in capsys.readouterr().err


def test_a_question_that_nobody_has_asked_is_an_error(command: Command) -> None:
    """It says how to find those that somebody has asked."""
    world: Any = World(in_place=True)
    said = "airflow-bedrock approve: There is no question one. Without an id, this command lists them.\n"
    assert command("approve", "one", approvals=Approvals("s3://bucket/registry", lambda: world)) == (1, said)
