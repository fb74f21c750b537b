"""A training set is put together from the manifests of its periods, deduplicated across them, or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.datasets import RecordFormat
from airflow_bedrock.datasets.manifest import name_of
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators import BedrockDatasetPreparationOperator
from airflow_bedrock.storage import Storage

NOVA = "amazon.nova-micro-v1:0:128k"
SHARED = {"base_model_id": NOVA, "system_prompt": "Name the team.", "validation_fraction": 0.1, "test_fraction": 0.2}


def records(numbers: Iterable[int], answer: str = "billing") -> list[dict[str, Any]]:
    return [{"prompt": f"What of invoice {number}?", "completion": answer} for number in numbers]


def period(folder: Path, name: str, found: list[dict[str, Any]], **given: Any) -> str:
    """Prepare a period, and return the URI of its manifest."""
    source = folder / "in" / f"{name}.jsonl"
    source.parent.mkdir(exist_ok=True)
    source.write_text("".join(f"{json.dumps(one)}\n" for one in found))
    return str(made(folder / name, source_uri=str(source), part=True, **given)["manifest_uri"])


def made(output: Path, **given: Any) -> dict[str, Any]:
    operator = BedrockDatasetPreparationOperator(task_id="p", output_uri=str(output), **{**SHARED, **given})
    return dict(operator.execute({}))


def lines(uri: str) -> list[str]:
    return Path(uri).read_text().splitlines()


def test_a_set_of_periods_has_each_record_once_and_in_its_split(tmp_path: Path) -> None:
    """It is what one preparation of all their sources makes, byte for byte."""
    first, second, third = records(range(60)), records(range(40, 100)), records(range(90, 130))
    manifests = [period(tmp_path, name, found) for name, found in zip("abc", (first, second, third), strict=True)]
    found = made(tmp_path / "set", source_manifests=[*manifests, manifests[0]])
    assert (found["counts"]["read"], found["counts"]["duplicates"]) == (160, 30)
    sources = [tmp_path / "in" / f"{name}.jsonl" for name in "abc"]
    (tmp_path / "all.jsonl").write_text("".join(one.read_text() for one in sources))
    at_once = made(tmp_path / "at once", source_uri=str(tmp_path / "all.jsonl"))
    assert found["digest"] == at_once["digest"]
    manifest = json.loads(Path(found["manifest_uri"]).read_bytes())
    assert [one["uri"] for one in manifest["sources"]] == manifests
    assert made(tmp_path / "set", source_manifests=manifests)["digest"] == found["digest"]


def test_a_file_that_is_deleted_after_the_listing_is_read_no_more_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder whose old objects expire."""
    (tmp_path / "in").mkdir()
    for name, found in (("a", records(range(60))), ("b", records(range(60, 90)))):
        (tmp_path / "in" / f"{name}.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in found))
    task, listed = {"source_uri": f"{tmp_path}/in/"}, Storage.files

    def delete_after(storage: Storage, uri: str) -> list[str]:
        found = listed(storage, uri)
        (tmp_path / "in" / "a.jsonl").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Storage, "files", delete_after)
    with pytest.raises(BedrockError, match=r"a.jsonl was deleted after it was listed") as caught:
        made(tmp_path / "out", **task)
    assert not isinstance(caught.value, BedrockFatalError)
    assert made(tmp_path / "out", **task)["counts"]["read"] == 30


def test_a_group_stays_in_its_split(tmp_path: Path) -> None:
    """Prepared records no longer have the field by which they were grouped; the file that a record is in says it."""
    grouped = {"group_field": "customer", "test_fraction": 0.4}
    found = [{**one, "customer": f"c{number % 9}"} for number, one in enumerate(records(range(120)))]
    manifests = [
        period(tmp_path, "a", found[:70], **grouped),
        period(tmp_path, "b", found[50:], **grouped),
    ]
    together = made(tmp_path / "set", source_manifests=manifests, **grouped)
    for split in ("train", "validation", "test"):
        parts = {line for uri in manifests for line in lines(uri.replace("manifest.json", f"{split}.jsonl"))}
        assert set(lines(together[{"train": "training"}.get(split, split) + "_data_uri"])) == parts


def hide(text: str, *, word: Any, by: str = "…") -> str:
    return text.replace(str(word), by)


def test_partials_with_other_arguments_are_another_preparation(tmp_path: Path) -> None:
    """Those with the same are the same; the arguments, which may be what is hidden, do not stand in the manifest."""
    patterns = [re.compile("invoice"), re.compile("invoice", re.IGNORECASE)]
    words: list[Any] = ["bill", *patterns, hide, {"a", "b"}, {"a", "c"}, 1 << 70, "\ud800", {"invoice": [None]}]
    given = [partial(hide, word="invoice"), partial(hide, word="invoice", by="x"), hide]
    given += [partial(hide, word=word) for word in words]
    assert len({name_of(one) for one in given}) == len(given)
    assert name_of(partial(hide, by="x", word={"b", "a"})) == name_of(partial(hide, word={"a", "b"}, by="x"))
    manifest = period(tmp_path, "a", records(range(60)), redact=given[0])
    assert f'"redact": "{__name__}.hide(' in Path(manifest).read_text()
    assert '"invoice"' not in Path(manifest).read_text()
    assert made(tmp_path / "same", source_manifests=[manifest], redact=partial(hide, word="invoice"))
    with pytest.raises(BedrockFatalError, match="was prepared with a different redact"):
        made(tmp_path / "other", source_manifests=[manifest], redact=given[1])


def test_the_newer_answer_counts_if_configured(tmp_path: Path) -> None:
    """Two periods answer alike questions in another way."""
    manifests = [period(tmp_path, "a", records(range(60))), period(tmp_path, "b", records(range(60), "sales"))]
    found = made(tmp_path / "set", source_manifests=manifests, on_conflict="last", max_dropped_fraction=0.5)
    assert found["counts"]["conflicts"] == 60
    assert all("sales" in line for line in lines(found["training_data_uri"]))


def test_a_small_period_is_a_part(tmp_path: Path) -> None:
    """Its splits may be empty and its records few; those of the whole may not."""
    small, large = period(tmp_path, "a", records([1])), period(tmp_path, "b", records(range(2, 90)))
    assert made(tmp_path / "set", source_manifests=[small, large])["counts"]["read"] == 89
    with pytest.raises(BedrockFatalError, match="split has no records"):
        made(tmp_path / "too small", source_manifests=[small])
    assert not (tmp_path / "too small").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [({"test_fraction": 0.1}, "test_fraction"), ({"seed": 2, "system_prompt": "?"}, "system_prompt, seed")],
)
def test_a_manifest_of_other_parameters_is_refused(tmp_path: Path, given: dict[str, Any], named: str) -> None:
    """What one held out, the other might train on."""
    manifests = [period(tmp_path, "a", records(range(60))), period(tmp_path, "b", records(range(60)), **given)]
    with pytest.raises(BedrockFatalError, match=f"b/manifest.json was prepared with a different {named}: "):
        made(tmp_path / "set", source_manifests=manifests)
    assert not (tmp_path / "set").exists()


def test_a_period_without_a_manifest_is_refused(tmp_path: Path) -> None:
    """A preparation that was killed has not written it yet."""
    manifest = period(tmp_path, "a", records(range(60)))
    with pytest.raises(BedrockFatalError, match=r"Could not read .*b/manifest.json: it does not exist"):
        made(tmp_path / "set", source_manifests=[manifest, str(tmp_path / "b" / "manifest.json")])
    Path(manifest).write_text('{"files": {}}')
    with pytest.raises(BedrockFatalError, match=r"a/manifest.json: it is not the manifest of a prepared dataset"):
        made(tmp_path / "set", source_manifests=manifest)
    assert not (tmp_path / "set").exists()


def test_a_period_that_is_being_prepared_again_is_read_by_the_next_try(tmp_path: Path) -> None:
    """Its files are new, its manifest is not yet: a try fails, and the next one reads both."""
    manifest = period(tmp_path, "a", records(range(60)))
    before, train = Path(manifest).read_bytes(), tmp_path / "a" / "train.jsonl"
    period(tmp_path, "a", records(range(90)))
    after = Path(manifest).read_bytes()
    Path(manifest).write_bytes(before)
    with pytest.raises(BedrockError, match=r"a/\w+.jsonl does not match .*a/manifest.json") as error:
        made(tmp_path / "set", source_manifests=[manifest])
    assert not isinstance(error.value, BedrockFatalError)  # it is retried
    assert not (tmp_path / "set").exists()
    Path(manifest).write_bytes(after)
    assert made(tmp_path / "set", source_manifests=[manifest])["counts"]["read"] == 90
    train.write_text(train.read_text().replace("billing", "sales"))
    with pytest.raises(BedrockError, match="or somebody changed the file"):
        made(tmp_path / "set", source_manifests=[manifest])


@pytest.mark.parametrize("record_format", list(RecordFormat))
def test_records_of_each_format_are_read_again_as_they_are(tmp_path: Path, record_format: RecordFormat) -> None:
    """A prepared record is a source record, of the same question, answer and system prompt."""
    shapes: dict[RecordFormat, dict[str, Any]] = {
        RecordFormat.PRE_TRAINING: {"text": "{}"},
        RecordFormat.IMAGE: {"image-ref": "s3://bucket/{}.png", "caption": "a house"},
        RecordFormat.REINFORCEMENT: {"messages": [{"role": "user", "content": "{}"}], "reference_answer": {"a": 1}},
    }
    shape = json.dumps(shapes.get(record_format, {"prompt": "{}", "completion": "yes"}))
    with_system = record_format in (RecordFormat.CONVERSE, RecordFormat.CLAUDE)
    given = {
        "base_model_id": None,
        "record_format": record_format.value,
        "system_prompt": "Answer." if with_system else None,
    }
    found = [json.loads(shape.replace("{}", f"question {number}")) for number in range(60)]
    manifest = period(tmp_path, "a", found, **given)
    before = json.loads(Path(manifest).read_bytes())["digest"]
    assert made(tmp_path / "set", source_manifests=[manifest], **given)["digest"] == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source_uri": "in/"}, "one of source_uri, source_conn_id and source_manifests"),
        ({"source_sql": "SELECT 1"}, "source_sql queries files or a database"),
        ({"output_uri": "a"}, "would replace a/manifest.json"),
        ({"source_manifests": []}, "must name a manifest"),
        ({"max_records_per_group": 3}, "needs the groups"),
    ],
)
def test_a_mistake_breaks_the_dag(given: dict[str, Any], message: str) -> None:
    """When the DAG is parsed, before anything is prepared."""
    arguments = {"output_uri": "set", "source_manifests": ["a/manifest.json"], **SHARED, **given}
    with pytest.raises(ValueError, match=message):
        BedrockDatasetPreparationOperator(task_id="p", **arguments)
