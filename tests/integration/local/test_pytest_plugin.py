"""The pytest plugin, used as its users do: pytest on tests in a folder of their own.

In a separate process where that matters, and otherwise in this one, which has loaded Airflow and moto already.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

from airflow_bedrock.local.access import SECRET

pytest_plugins = ["pytester"]

DAG = """
import json
import boto3, pendulum
from airflow.sdk import DAG, Variable, task
from airflow_bedrock.operators import BedrockModelCustomizationOperator

def record(number):
    turns = [("user", f"number {number}"), ("assistant", "even" if number % 2 == 0 else "odd")]
    messages = [{"role": role, "content": [{"text": text}]} for role, text in turns]
    return json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": messages})

with DAG("numbers", start_date=pendulum.datetime(2026, 1, 1), schedule=None) as dag:
    @task
    def data():
        lines = "\\n".join(record(number) for number in range(20))
        boto3.client("s3").put_object(Bucket=Variable.get("bedrock_bucket"), Key="train.jsonl", Body=lines.encode())

    data() >> BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="numbers",
        custom_model_name="numbers",
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri="s3://{{ var.value.bedrock_bucket }}/train.jsonl",
        output_data_uri="s3://{{ var.value.bedrock_bucket }}/out/",
        hyperparameters={"epochCount": "1"},
    )
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for tests, and an environment in which nothing leads to AWS or to another folder's settings."""
    pytester.makeini("[pytest]\naddopts = -p no:asyncio\nfilterwarnings =\n    error\n    ignore:Using `httpx` with\n")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def test_a_dag_is_tested_with_three_lines(
    run: pytest.Pytester, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the fixture, a DAG's own test run trains on Local Bedrock, and a fault and the journal are at hand.

    The logs hide nothing, since the dummy secret occurs in no name.
    """
    (run.mkdir("dags") / "numbers_dag.py").write_text(DAG)
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(run.mkdir("no-dags")))
    run.makepyfile(
        """
        def test_numbers(local_bedrock):
            from numbers_dag import dag
            assert dag.test().state == "success"

        def test_numbers_again(local_bedrock):
            from numbers_dag import dag
            local_bedrock.faults.fail_job("training", f"No luck with s3://{local_bedrock.bucket}/train.jsonl")
            assert dag.test().state == "failed"
            (created,) = local_bedrock.calls.of("CreateModelCustomizationJob")
            assert created.parameters["hyperParameters"] == {"epochCount": "1"}
        """
    )
    ran = run.runpytest_subprocess("-q", "-s", "-o", "pythonpath=dags")
    ran.assert_outcomes(passed=2)
    ran.stdout.fnmatch_lines(["*No luck with s3://airflow-bedrock-local/train.jsonl*"])
    assert SECRET not in ran.stdout.str()
    assert "***" not in ran.stdout.str()


def test_each_test_has_its_own(run: pytest.Pytester) -> None:
    """What a test leaves behind, in Bedrock, in S3, in the environment and in boto3, the next one does not find."""
    run.makepyfile("""
        import os
        import boto3
        import pytest

        before, session = dict(os.environ), boto3.DEFAULT_SESSION

        @pytest.mark.parametrize("time", [1, 2])
        def test_alone(local_bedrock, time):
            s3, bedrock = boto3.client("s3"), local_bedrock.client("bedrock")
            assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == [local_bedrock.bucket]
            assert "Contents" not in s3.list_objects_v2(Bucket=local_bedrock.bucket)
            assert bedrock.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
            assert len(local_bedrock.faults) == 0
            assert {call.service for call in local_bedrock.calls} == {"s3", "bedrock"}
            s3.put_object(Bucket=local_bedrock.bucket, Key="left", Body=b"x")
            s3.create_bucket(Bucket="left-behind")
            bedrock.create_model_customization_job(
                jobName="left",
                customModelName="left",
                roleArn=local_bedrock.role_arn,
                baseModelIdentifier="amazon.nova-micro-v1:0:128k",
                trainingDataConfig={"s3Uri": f"s3://{local_bedrock.bucket}/left"},
                outputDataConfig={"s3Uri": f"s3://{local_bedrock.bucket}/out"},
            )
            local_bedrock.faults.throttle()
            s3.close()

        def test_environment_is_restored():
            assert dict(os.environ) | {"PYTEST_CURRENT_TEST": ""} == before | {"PYTEST_CURRENT_TEST": ""}
            assert boto3.DEFAULT_SESSION is session
        """)
    run.runpytest_inprocess("-q").assert_outcomes(passed=3)


def test_nothing_leads_to_aws(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says of AWS (a profile, another endpoint), the test's clients come to Local Bedrock."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another account")
    run.makepyfile("""
        import os
        import boto3

        def test_clients(local_bedrock):
            client = boto3.client("bedrock")
            assert client.meta.endpoint_url == local_bedrock.endpoint_url
            client.list_custom_models()
            client.close()
            assert len(local_bedrock.calls.of("ListCustomModels")) == 1

        def test_profile_is_back():
            assert os.environ["AWS_PROFILE"] == "production"
        """)
    run.runpytest_inprocess("-q").assert_outcomes(passed=2)


def test_settings_of_project_test_and_command_line(run: pytest.Pytester) -> None:
    """The ini file's settings are changed by the command line's, and those by the marker's."""
    ini = """
        [pytest]
        addopts = -p no:asyncio
        local_bedrock =
            region = eu-west-1
            bucket = "of-the-project"
            job_seconds=3
        """
    run.makeini(textwrap.dedent(ini))
    run.makepyfile("""
        import pytest

        def test_project(local_bedrock):
            assert local_bedrock.environment()["AWS_DEFAULT_REGION"] == "eu-west-1"
            assert local_bedrock.bucket == "of-the-command-line"
            assert local_bedrock.environment()["AIRFLOW__BEDROCK__POLL_INTERVAL"] == "0.3"

        @pytest.mark.local_bedrock(clock="manual", bucket="of-the-test")
        def test_marker(local_bedrock):
            assert local_bedrock.bucket == "of-the-test"
            before = local_bedrock.clock.time()
            local_bedrock.clock.advance(3600)
            assert local_bedrock.clock.time() == before + 3600
        """)
    run.runpytest_inprocess("-q", "--local-bedrock", "bucket=of-the-command-line").assert_outcomes(passed=2)


def test_one_for_a_module(run: pytest.Pytester) -> None:
    """The tests of a module can share one, with settings of the module's own; the next module has another."""
    module = """
        import os
        import pytest

        pytestmark = pytest.mark.local_bedrock(job_seconds=7)

        def test_first(local_bedrock_module):
            local_bedrock_module.client("s3").create_bucket(Bucket="shared")

        def test_second(local_bedrock_module):
            assert os.environ["AIRFLOW__BEDROCK__POLL_INTERVAL"] == "0.7"
            names = [one["Name"] for one in local_bedrock_module.client("s3").list_buckets()["Buckets"]]
            assert sorted(names) == [local_bedrock_module.bucket, "shared"]
        """
    run.makepyfile(test_one=module, test_two=module)
    run.runpytest_inprocess("-q").assert_outcomes(passed=4)


def test_a_misspelt_setting_is_reported(run: pytest.Pytester) -> None:
    """A misspelt setting is an error that names it."""
    run.makepyfile("""
        import pytest

        @pytest.mark.local_bedrock(job_second=1)
        def test_settings(local_bedrock):
            pass
        """)
    ran = run.runpytest_inprocess("-q")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*job_second*"])


def test_unused_it_costs_nothing(run: pytest.Pytester) -> None:
    """A run without the fixture loads the plugin, and nothing of moto, boto3 or Airflow."""
    run.makepyfile("""
        import json
        import sys

        def test_modules(request):
            assert request.config.pluginmanager.has_plugin("airflow_bedrock.local.pytest_plugin")
            with open("modules.json", "w") as file:
                json.dump(sorted(sys.modules), file)
        """)
    run.runpytest_subprocess("-q", "-p", "no:hypothesispytest").assert_outcomes(passed=1)
    loaded = {name.partition(".")[0] for name in json.loads((run.path / "modules.json").read_text())}
    assert "airflow_bedrock" in loaded
    assert not loaded & {"moto", "boto3", "botocore", "numpy", "airflow", "msgspec", "werkzeug"}


def test_a_missing_extra_is_named(run: pytest.Pytester) -> None:
    """Without the extra `local`, a test that asks for the fixture fails with the command that installs it."""
    run.makeconftest("import sys\nsys.modules['moto'] = None\n")
    run.makepyfile("def test_dag(local_bedrock): pass")
    ran = run.runpytest_subprocess("-q")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*needs moto*pip install 'airflow-bedrock[[]local]'*"])


def test_fixtures_are_listed_with_what_they_do(run: pytest.Pytester) -> None:
    """`pytest --fixtures` and `pytest --markers` show the plugin."""
    run.makepyfile("")
    run.runpytest_inprocess("--fixtures").stdout.fnmatch_lines(["local_bedrock *", "*A Local Bedrock for one test*"])
    run.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.local_bedrock(*"])
    assert "airflow_bedrock.local.pytest_plugin" in sys.modules
