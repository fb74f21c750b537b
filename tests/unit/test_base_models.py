"""The data file of base models: what identifiers mean, and that its tables are sound."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from airflow_bedrock.base_models import Hyperparameter, base_model, base_models, foundation_model_id
from scripts import base_models as script

ACCOUNT_ARN = "arn:aws:bedrock:us-east-1:123456789012"


@pytest.mark.parametrize(
    "identifier",
    [
        "amazon.nova-lite-v1:0",
        "amazon.nova-lite-v1:0:300k",
        "us.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:300k",
        "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/amazon.nova-lite-v1:0",
        f"{ACCOUNT_ARN}:inference-profile/eu.amazon.nova-lite-v1:0",
        f"{ACCOUNT_ARN}:custom-model/amazon.nova-lite-v1:0:300k/abcdefghijkl",
    ],
)
def test_every_identifier_leads_to_the_model(identifier: str) -> None:
    """An id, an ARN, an inference profile and a custom model name their base model, with or without its context."""
    model = base_model(identifier)
    assert model is not None
    assert (model.id, model.customizable_id, model.provider) == (
        "amazon.nova-lite-v1:0",
        "amazon.nova-lite-v1:0:300k",
        "Amazon",
    )


@pytest.mark.parametrize(
    "identifier", ["", "amazon.", "nobody.knows-v1:0", f"{ACCOUNT_ARN}:custom-model-deployment/abcdefghijkl"]
)
def test_unknown_identifiers_are_not_guessed_at(identifier: str) -> None:
    """What names no base model that is known gives None."""
    assert base_model(identifier) is None


def test_geography_is_only_what_stands_before_a_provider() -> None:
    """A provider's name is not taken for a geography."""
    assert foundation_model_id("us-gov.amazon.nova-lite-v1:0") == "amazon.nova-lite-v1:0"
    assert foundation_model_id("amazon.nova-lite-v1:0") == "amazon.nova-lite-v1:0"


def test_tables_are_sound() -> None:
    """Defaults are within their ranges, record limits are in order, teachers and students exist."""
    for model in base_models():
        assert model.provider
        for method in model.methods.values():
            assert method.regions
            assert method.max_records is not None
            assert method.min_records < method.max_records
            assert all(base_model(teacher) for teacher in method.teachers), model.id
            for name, rule in method.hyperparameters.items():
                assert rule.default is None or rule.problem(rule.default) is None, (model.id, name)
    pairs = tomllib.loads(script.SOURCE.read_text())["distillation"]["pairs"]
    students = {student for pair in pairs for student in pair["students"]}
    assert students == {model.id for model in base_models() if "DISTILLATION" in model.methods}


def test_method_of_a_model() -> None:
    """A student knows its teachers, and is trained with the hyperparameters of its fine-tuning."""
    micro = base_model("amazon.nova-micro-v1:0")
    assert micro is not None
    distillation = micro.methods["DISTILLATION"]
    assert set(distillation.teachers) == {"amazon.nova-pro-v1:0", "amazon.nova-premier-v1:0"}
    assert distillation.hyperparameters == micro.methods["FINE_TUNING"].hyperparameters
    assert micro.regions == ("us-east-1",)
    assert not getattr(base_model("amazon.nova-premier-v1:0"), "methods", None)


@pytest.mark.parametrize(
    ("rule", "value", "problem"),
    [
        (Hyperparameter(min=1, max=5), "5", None),
        (Hyperparameter(min=1, max=5), "6", "must be a whole number between 1 and 5, not '6'"),
        (Hyperparameter(min=1, max=5), "1.5", "must be a whole number between 1 and 5, not '1.5'"),
        (Hyperparameter(min=0, max=1, whole=False), "nan", "must be a number between 0 and 1, not 'nan'"),
        (Hyperparameter(min=0, max=1, whole=False), "1e-5", None),
        (Hyperparameter(choices=("low", "high")), "low", None),
        (Hyperparameter(choices=("low", "high")), "1", "must be one of low, high, not '1'"),
    ],
)
def test_hyperparameter(rule: Hyperparameter, value: str, problem: str | None) -> None:
    """A value is checked for its kind and its range."""
    assert rule.problem(value) == problem


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("x", 1),
        ("x" * 6, 1),
        ("x" * 7, 2),
        ("\u201cquoted\u201d \u2013 naïve", 3),
        ("字" * 150_000, 150_000),
        ("カタカナ 한국어", 8),
        ("привет", 3),
        ("สวัสดี, hello!", 5),
        ("🙂🙂", 2),
    ],
)
def test_tokens_are_estimated_by_script(text: str, tokens: int) -> None:
    """Six Latin characters count as a token, one of Chinese, Japanese and Korean, two of other scripts."""
    nova = base_model("amazon.nova-micro-v1:0")
    assert nova is not None
    assert nova.methods["FINE_TUNING"].tokens(text) == tokens


def test_import_is_light() -> None:
    """DAG files import this: nothing heavy comes with it."""
    code = "import sys, airflow_bedrock.base_models; print(sorted({'airflow', 'boto3', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "[]"


FIRST_USE = """
import sys, threading
from airflow_bedrock.base_models import base_model

sys.setswitchinterval(1e-6)
barrier = threading.Barrier(8)

def read():
    barrier.wait()
    base_model("amazon.nova-micro-v1:0:128k")

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_many_threads_may_be_the_first_to_read_the_table() -> None:
    """Without a lock, four processes in ten crashed; Local Bedrock did, when questions came in at once."""
    for _ in range(6):
        ended = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr


def test_what_is_read_is_what_stands_in_the_toml_file() -> None:
    """The TOML file is the one to edit; of an edit that was not written anew, nothing would be known."""
    assert script.MADE.read_text() == script.made(), "run: python -m scripts.base_models"
