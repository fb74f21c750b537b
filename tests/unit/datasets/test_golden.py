"""Golden files: for each format and rule, records of which one just breaks the rule, and those that just do not.

``golden/<format>/<rule>.<what>.bad.jsonl`` breaks this rule and no other; its twin is called ``….good.jsonl``. What is
long is packed. An object on S3 has as many bytes as its name says.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from airflow_bedrock.base_models import base_model
from airflow_bedrock.datasets.checking import check
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.rules.forms import FORMS
from airflow_bedrock.local.work.data import MediaCheck
from airflow_bedrock.local.work.records import DataError, read_records

GOLDEN = Path(__file__).with_name("golden")
MODELS = {
    "nova": ("amazon.nova-lite-v1:0", "FINE_TUNING"),
    "nova-2": ("amazon.nova-2-lite-v1:0", "FINE_TUNING"),
    "llama": ("meta.llama3-2-11b-instruct-v1:0", "FINE_TUNING"),
    "distillation": ("amazon.nova-lite-v1:0", "DISTILLATION"),
    "claude": ("anthropic.claude-3-haiku-20240307-v1:0", "FINE_TUNING"),
    "prompt-completion": ("meta.llama3-1-8b-instruct-v1:0", "FINE_TUNING"),
    "titan": ("amazon.titan-text-lite-v1", "FINE_TUNING"),
    "cohere": ("cohere.command-text-v14", "FINE_TUNING"),
    "pre-training": ("amazon.titan-text-lite-v1", "CONTINUED_PRE_TRAINING"),
    "image": ("amazon.nova-canvas-v1:0", "FINE_TUNING"),
    "embeddings": ("amazon.titan-embed-image-v1", "FINE_TUNING"),
    "reinforcement": ("amazon.nova-2-lite-v1:0", "REINFORCEMENT_FINE_TUNING"),
}
FILES = sorted(GOLDEN.glob("*/*"))
BUCKET = "data"


class Objects:
    """An S3 whose objects have as many bytes as their names say."""

    def head_object(self, *, Key: str, **_: str) -> dict[str, int]:
        return {"ContentLength": int(re.sub(r"\D", "", Key.partition(".")[0]) or 1)}


def rules_of(file: Path) -> Rules:
    identifier, method = MODELS[file.parent.name]
    model = base_model(identifier)
    assert model is not None
    return Rules(model.methods[method], model.input, BUCKET)


def content_of(file: Path) -> bytes:
    content = file.read_bytes()
    return gzip.decompress(content) if file.suffix == ".gz" else content


def expected(file: Path) -> set[str]:
    return {file.name.partition(".")[0]} if ".bad." in file.name else set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_check_finds_this_rule_alone(tmp_path: Path, file: Path) -> None:
    """In the record that breaks it, and nowhere in the other one."""
    data = tmp_path / "train.jsonl"
    data.write_bytes(content_of(file))
    report = check({"training": data}, rules_of(file), s3=Objects())
    found = {one.rule for one in report.findings}
    assert found == expected(file), [one.message for one in report.findings]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_local_bedrock_agrees(file: Path) -> None:
    """Its job takes the one, and fails on the other."""
    rules = rules_of(file)
    media = MediaCheck(rules.method, Objects(), lambda uri: True)
    lines = content_of(file).removesuffix(b"\n").split(b"\n")
    if expected(file):
        with pytest.raises(DataError):
            list(read_records(lines, "s3://data/train.jsonl", rules, media))
    else:
        assert len(list(read_records(lines, "s3://data/train.jsonl", rules, media))) == len(lines)


def test_each_bad_file_has_its_twin() -> None:
    """And each format of the package has files."""
    bad = {file for file in FILES if ".bad." in file.name}
    assert {file.with_name(file.name.replace(".bad.", ".good.")) for file in bad} == set(FILES) - bad
    folders = {file.parent.name for file in FILES}
    assert folders == MODELS.keys()
    assert FORMS.keys() <= folders


def test_each_rule_has_a_file() -> None:
    """Every rule that the source names, but for what only a job can find: whether its role may read an object."""
    source = Path(__file__).parents[3] / "airflow_bedrock" / "datasets"
    named = {rule for file in source.rglob("*.py") for rule in re.findall(r'Problem\("([a-z-]+)"', file.read_text())}
    covered = {rule for file in FILES for rule in expected(file)}
    assert named - {"media-access"} == covered
