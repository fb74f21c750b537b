"""Selecting at scale: the Spark job on a local Spark, and the example DAG as far as moto goes."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import random
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.amazon.aws.operators.s3 import S3DeleteObjectsOperator
from botocore.exceptions import ClientError

from airflow_bedrock.datasets.at_scale import SPARK_JOB
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockDatasetPreparationOperator
from tests.deployed import Deployed, actions, both, policy, without
from tests.integration.test_customization_operator import context

pytestmark = pytest.mark.local_bedrock(enforce_iam=True)
DAG_FILE = Path(__file__).parents[2] / "dags" / "prepare_at_scale.py"
QUESTIONS = (
    "Where is {}?",
    "WHERE  is {}?",
    "Où est {}?",
    "ﬁnd {}",
    "Straße {}",
    "STRASSE\n{}",
    "где {}",
    "何 {}\uff0c",
)
FIELDS = ("--prompt-field", "q", "--completion-field", "a")
# Each way to select, as options of the job and as parameters of the operator; one Spark runs them all.
WAYS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "group": (
        ["--on-conflict", "last", "--group-field", "team", "--test-fraction", "0.3", "--validation-fraction", "0.2"],
        {"on_conflict": "last", "group_field": "team", "test_fraction": 0.3, "validation_fraction": 0.2},
    ),
    "sample": (
        ["--on-conflict", "majority", "--max-records", "70", "--max-records-per-class", "40", "--seed", "7"],
        {"on_conflict": "majority", "max_records": 70, "max_records_per_class": 40, "seed": "7"},
    ),
    "drop": (
        ["--on-conflict", "drop", "--prompt-field", "Note: {note} Question: {q}"],
        {"on_conflict": "drop", "prompt_field": "Note: {note} Question: {q}"},
    ),
}
# The driver of the test: one session, as many runs of the job as there are ways.
DRIVER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("job", sys.argv[1])
job = importlib.util.module_from_spec(spec)
spec.loader.exec_module(job)
sys.exit(any([job.main(arguments) for arguments in json.loads(sys.argv[2])]))
"""
CONF = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",  # a compiler is not worth its time here
    "spark.sql.shuffle.partitions": "1",
    "spark.ui.enabled": "false",
}
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # nor is the best code of Java's, nor several threads that collect


def find_spark() -> None:
    """Skip without pyspark or Java, which CI has."""
    missing = [] if importlib.util.find_spec("pyspark") else ["pyspark (pip)"]
    missing += [] if shutil.which("java") else ["a Java runtime (default-jre-headless)"]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def prepared(source: Path, output: Path, **options: Any) -> tuple[dict[str, set[str]], dict[str, Any]]:
    """Prepare on one machine; return the questions of each split, and the operator's result."""
    operator = BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=str(source) if source.is_file() else f"{source}/",
        output_uri=str(output),
        record_format="prompt-completion",
        max_dropped_fraction=1,
        **options,
    )
    result, _ = operator.prepare()
    splits = {
        split: set((output / f"{split}.jsonl").read_text("utf-8").splitlines())
        for split in ("train", "validation", "test")
    }
    return splits, result


def test_the_spark_job_selects_what_one_machine_does(tmp_path: Path) -> None:
    """The same records, the same splits record by record, and the same counts, in each way to select."""
    find_spark()
    draw = random.Random(1)  # noqa: S311 - no secret
    records = [
        {"id": n, "q": draw.choice(QUESTIONS).format(n % 120), "a": draw.choice("xXyz"), "team": n % 12, "note": ""}
        for n in range(400)
    ]
    records[7]["q"], records[8]["a"], records[9]["q"] = " ", None, "\u3000"
    source = tmp_path / "tickets.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in records))
    runs = [
        ["--source", str(source), "--output", str(tmp_path / name), *FIELDS, "--order-by", "id", *options]
        for name, (options, _) in WAYS.items()
    ]
    runs = [[*one, "--max-dropped-fraction", "1", "--JOB_NAME", "of Glue"] for one in runs]
    submit = " ".join([f"--driver-java-options '{JAVA}'", *(f"--conf {name}={value}" for name, value in CONF.items())])
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, str(SPARK_JOB), json.dumps(runs)],
        env=os.environ
        | {"PYSPARK_SUBMIT_ARGS": f"--master local[1] {submit} pyspark-shell", "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    counted = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    for (name, (_, options)), counts in zip(WAYS.items(), counted, strict=True):
        asked = {"prompt_field": "q", "completion_field": "a", **options}
        wanted, result = prepared(source, tmp_path / f"{name}-one", **asked)
        kept = {one: value for one, value in options.items() if not one.startswith(("max_", "on_", "prompt_"))}
        found, again = prepared(tmp_path / name, tmp_path / f"{name}-two", **kept)
        assert found == wanted, name
        assert (again["counts"]["duplicates"], again["counts"]["conflicts"]) == (0, 0)
        of = result["counts"]
        assert counts == {
            "read": 400,
            "empty": of["dropped"],
            "duplicates": of["duplicates"],
            "conflicts": of["conflicts"],
            "not_chosen": of["not_chosen"],
            "written": of["train"] + of["validation"] + of["test"],
        }
        assert of["dropped"] == 3
        for record in selected(tmp_path / name):
            line = msgspec.json.encode({"prompt": record["prompt"], "completion": record["completion"]}).decode()
            assert line in wanted[record["split"]]


def selected(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob("part-*.json.gz")):
        yield from map(json.loads, gzip.decompress(file.read_bytes()).splitlines())


@pytest.fixture(scope="module")
def deployed(local_bedrock_module: LocalBedrock) -> Deployed:
    return Deployed(local_bedrock_module)


@pytest.fixture(scope="module")
def local(airflow_database: Path, local_bedrock_module: LocalBedrock, deployed: Deployed) -> Iterator[LocalBedrock]:
    deployed.allow(to_airflow=both(deployed.airflow, policy("at-scale", local_bedrock_module.bucket)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in deployed.environment():
            patch.setenv(name, value)
        yield local_bedrock_module


def test_the_dag_as_far_as_moto_goes(local: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Athena, whose query moto takes and does not run: the test writes what it would; then all else is real."""
    dag = runpy.run_path(str(DAG_FILE))["dag"]
    athena = dag.get_task("select_with_athena")
    folder = "at_scale/tickets/selected/"
    s3 = local.client("s3")
    s3.put_object(Bucket=local.bucket, Key=f"{folder}of-an-earlier-run.gz", Body=b"old")
    asked = []

    def unload(context: Any, result: Any) -> None:
        asked.append(athena.hook.get_query_info(result)["QueryExecution"]["Query"])
        for part in range(3):
            lines = (b'{"prompt": "Where is %d?", "completion": "%d"}\n' % (n, n % 3) for n in range(part, 120, 3))
            key = f"{folder}20261121_000000_00001_abcde_{part}.gz"
            s3.put_object(Bucket=local.bucket, Key=key, Body=gzip.compress(b"".join(lines)))

    monkeypatch.setattr(athena, "sleep_time", 0.1)
    monkeypatch.setattr(athena, "_post_execute_hook", unload)
    try:
        run = dag.test(run_conf={"fraction": 0.5})
        states = {one.task_id: str(one.state) for one in run.get_task_instances()}
        train = s3.get_object(Bucket=local.bucket, Key="at_scale/tickets/prepared/train.jsonl")["Body"].read()
    finally:
        s3.close()
    assert states == {
        "allowed": "success",
        "clear": "success",
        "engine": "success",
        "select_with_athena": "success",
        "copy_job": "skipped",
        "select_with_spark": "skipped",
        "prepare": "success",
    }
    [query] = asked
    assert f"TO 's3://{local.bucket}/{folder}'" in query
    assert "FROM tickets WHERE stars > 3" in query
    assert "< 0.5" in query
    assert query.startswith("UNLOAD")
    assert "{{" not in query
    assert 80 < len(train.splitlines()) < 120


BY_ATHENA = {"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:GetBucketLocation"}
"""What Athena calls with the rights of who has asked it, as it does Glue; Local Bedrock runs no query."""


def test_each_action_is_needed(local: LocalBedrock, deployed: Deployed) -> None:
    """Without it the task fails with an error that names it: that of selecting, stopping, or clearing the folder."""
    more, where = policy("at-scale", local.bucket), f"s3://{local.bucket}/at_scale/needs/"
    select = AthenaOperator(task_id="select", query="SELECT 1", database="db", output_location=where, sleep_time=1)
    clear = S3DeleteObjectsOperator(task_id="clear", bucket=local.bucket, keys=["at_scale/needs/of-an-earlier-run"])
    needs: dict[str, Callable[[], object]] = {
        "athena:StartQueryExecution": lambda: select.execute(context()),
        "athena:GetQueryExecution": lambda: select.execute(context()),
        "athena:StopQueryExecution": select.on_kill,
        "s3:DeleteObject": lambda: clear.execute(context()),
    }
    try:
        for action, call in needs.items():
            deployed.allow(to_airflow=both(deployed.airflow, without(more, action)))
            with pytest.raises(ClientError, match=f"perform: {action} on resource: .*(workgroup/primary|needs)"):
                call()
            deployed.allow(to_airflow=both(deployed.airflow, more))
            call()
    finally:
        deployed.allow(to_airflow=both(deployed.airflow, more))
    assert {one for one in actions(more) if not one.startswith("glue:")} == {*needs, *BY_ATHENA}


def test_the_job_is_given_what_the_form_asks_for() -> None:
    """EMR Serverless runs no job in moto: the options that it is handed are those of the job."""
    pytest.importorskip("pyspark")
    task = runpy.run_path(str(DAG_FILE))["dag"].get_task("select_with_spark")
    job = runpy.run_path(str(SPARK_JOB))
    options = job["_parser"]().parse_args(
        [one.replace("{{ params.max_records }}", "5") for one in task.job_driver["sparkSubmit"]["entryPointArguments"]]
    )
    assert (options.source_format, options.max_records) == ("parquet", 5)
