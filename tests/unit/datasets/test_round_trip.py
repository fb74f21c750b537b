"""The round trip: what preparation writes, the check accepts, and Local Bedrock's jobs read and train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_bedrock.datasets import RecordFormat, Settings, Source, Split, prepare, rules_for
from airflow_bedrock.datasets.checking import check
from airflow_bedrock.local.learning.model import LanguageModel
from airflow_bedrock.local.learning.training import Example, Schedule, train
from airflow_bedrock.local.work.records import read_records

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["User: a", "a\nHuman: b", "[EOS]", "<image>", "\u2028", "\x00", "\ufeff", "字" * 9, "a" * 200]
)
PAIR = st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT})
OPEN_AI = st.tuples(TEXT, TEXT, TEXT).map(
    lambda said: {
        "messages": [
            {"role": role, "content": text} for role, text in zip(("system", "user", "assistant"), said, strict=True)
        ]
    }
)
SHARE_GPT = st.lists(TEXT, min_size=1, max_size=4).map(
    lambda said: {"conversations": [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(said)]}
)
RECORDS = st.lists(PAIR | OPEN_AI | SHARE_GPT, max_size=12)
MODELS = {
    "amazon.nova-micro-v1:0": "FINE_TUNING",
    "amazon.nova-2-lite-v1:0": "REINFORCEMENT_FINE_TUNING",
    "amazon.nova-lite-v1:0": "DISTILLATION",
    "anthropic.claude-3-haiku-20240307-v1:0": "FINE_TUNING",
    "meta.llama3-3-70b-instruct-v1:0": "FINE_TUNING",
    "meta.llama3-1-8b-instruct-v1:0": "FINE_TUNING",
    "amazon.titan-text-lite-v1": "CONTINUED_PRE_TRAINING",
}


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS, system=st.none() | st.just("Be brief."))
def test_round_trip(tmp_path: Path, model: str, records: list[dict[str, Any]], system: str | None) -> None:
    """Each record is written or counted as left out; nothing that is written has a problem."""
    rules = rules_for(model, MODELS[model])
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in records))
    fits = rules.method.format in ("bedrock-conversation-2024", "claude")
    wanted = Settings(
        record_format=RecordFormat(rules.method.format),
        rules=rules,
        validation_fraction=0,
        test_fraction=0,
        system_prompt=system if fits else None,
    )
    with out.open("wb") as written:
        made = prepare([Source("in", source)], dict.fromkeys(Split, written), wanted)
    assert made.read == len(records)
    assert made.read == made.records(Split.TRAIN) + made.duplicates + made.conflicts + sum(made.dropped.values())
    report = check({"training": out}, rules)
    assert not report.problems, report.findings
    assert report.files["training"].records == made.records(Split.TRAIN)
    assert (report.duplicates.count, report.conflicts.count) == (0, 0)
    read = list(read_records(out.read_bytes().splitlines(), "s3://data/train.jsonl", rules))
    assert len(read) == made.records(Split.TRAIN)
    if examples := [Example(one.prompt, one.completion or "") for one in read]:
        learner = LanguageModel.untrained([one.prompt for one in examples], [one.completion for one in examples], "")
        steps = list(train(learner, examples, Schedule(epochs=1)))
        assert all(step.loss >= 0 for step in steps)
