"""The name is the state: the same intent has the same name, another one another name, and every name is legal."""

from __future__ import annotations

import itertools
import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from airflow_bedrock.customization.identity import (
    Identity,
    TaskKey,
    Token,
    identify,
    is_named_after,
)
from airflow_bedrock.customization.request import Reuse, build_request, with_fitting_names

JOB_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9+.\-]*")  # the linear equivalent of the service's pattern
MODEL_NAME = re.compile(r"([0-9a-zA-Z][_-]?){1,63}")
TOKEN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
TASK_KEY = TaskKey(dag_id="dag", task_id="task", run_id="run-1")
DATA = [{"uri": "s3://b/train.jsonl", "etag": '"1"', "size": 10, "version": None}]


def request(**more: Any) -> dict[str, Any]:
    return {"jobName": "router", "customModelName": "router", "baseModelIdentifier": "nova", **more}


def name(
    asked: dict[str, Any] | None = None,
    *,
    task_key: TaskKey = TASK_KEY,
    reuse: Reuse = "run",
    data: list[dict[str, Any]] | None = None,
) -> str:
    return identify(asked or request(), DATA if data is None else data, task_key, reuse).job_name()


@given(job=st.text(max_size=100), model=st.text(max_size=100), generation=st.integers(1, 10_000), run=st.text())
def test_every_name_fits_the_service(job: str, model: str, generation: int, run: str) -> None:
    """Whatever the prefixes and ids hold, names and token satisfy the service's patterns and lengths."""
    task_key = TaskKey(dag_id="d", task_id="t", run_id=run)
    identity = identify(request(jobName=job, customModelName=model), DATA, task_key, "run")
    assert JOB_NAME.fullmatch(identity.job_name(generation))
    assert MODEL_NAME.fullmatch(identity.model_name(generation))
    assert TOKEN.fullmatch(identity.token(generation))
    assert len(identity.job_name(generation)) <= 63
    assert len(identity.model_name(generation)) <= 63
    assert len(identity.token(generation)) <= 256
    fitting = with_fitting_names(request(jobName=job, customModelName=model))
    assert not job or JOB_NAME.fullmatch(fitting["jobName"])
    assert not model or MODEL_NAME.fullmatch(fitting["customModelName"])


@given(st.permutations(["b", "a", "c"]))
def test_the_order_of_the_request_does_not_matter(keys: list[str]) -> None:
    """The same request written in another order is the same request."""
    parameters = dict.fromkeys(keys, "1")
    assert name(request(hyperParameters=parameters)) == name(request(hyperParameters={"a": "1", "b": "1", "c": "1"}))


def test_tags_do_not_make_another_job() -> None:
    """What is only written on the job does not change what is asked for."""
    assert name(request(jobTags=[{"key": "team", "value": "a"}])) == name()
    written = request(clientRequestToken="mine", jobName="other", customModelName="other")
    assert identify(written, DATA, TASK_KEY, "run").what == identify(request(), DATA, TASK_KEY, "run").what


CHANGES: list[dict[str, Any]] = [
    {"asked": request(hyperParameters={"epochCount": "3"})},
    {"data": [{**DATA[0], "etag": '"2"'}]},
]


@pytest.mark.parametrize("change", CHANGES, ids=["request", "data"])
def test_what_is_in_the_job_name_only_where_runs_share_it(change: dict[str, Any]) -> None:
    """A retry finds its job by Get alone, even if the request differs; runs that share a job find it by the request."""
    assert name(**change) == name()
    assert name(**change, reuse="never") == name(reuse="never")
    assert name(**change, reuse="dag") != name(reuse="dag")


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
@pytest.mark.parametrize("change", CHANGES, ids=["request", "data"])
def test_the_model_name_and_the_token_always_depend_on_the_request(change: dict[str, Any], reuse: Reuse) -> None:
    """List shows the model's name, and Get the token."""
    one = identify(request(), DATA, TASK_KEY, reuse)
    other = identify(change.get("asked", request()), change.get("data", DATA), TASK_KEY, reuse)
    assert one.model_name() != other.model_name()
    assert one.what_part in one.model_name()
    assert one.is_of_ask(Token.read(other.token()))
    assert not one.is_of_what(Token.read(other.token()))


def test_two_environments_never_meet() -> None:
    """Development and production on one account."""
    for reuse in get_args(Reuse):
        one, other = (
            identify(request(), DATA, replace(TASK_KEY, environment=environment), reuse)
            for environment in ("dev", "prod")
        )
        assert one.job_name() != other.job_name()
        assert not one.is_of_task(Token.read(other.token()))


def test_a_partition_replaces_the_run_in_the_identity() -> None:
    """A backfill of a partition makes a new run each time."""
    one = replace(TASK_KEY, partition_key="2026-10")
    assert name(task_key=one) == name(task_key=replace(one, run_id="run-2"))
    assert name(task_key=one) != name(task_key=replace(one, partition_key="2026-11"))
    assert name(task_key=one) != name(task_key=replace(TASK_KEY, run_id="2026-10"))
    assert one.ask_digest != replace(one, run_id="run-2").ask_digest


def test_all_names_of_a_task_share_a_part() -> None:
    """By which List finds the rest of the family."""
    task_keys = [TASK_KEY, replace(TASK_KEY, run_id="run-2"), replace(TASK_KEY, map_index=7), replace(TASK_KEY, ask=3)]
    for task_key, reuse in itertools.product(task_keys, get_args(Reuse)):
        identity = identify(request(), DATA, task_key, reuse)
        assert identify(request(), DATA, TASK_KEY, "run").family_part in identity.job_name()
        assert identity.who_part in identity.model_name()


def test_reuse_says_how_far_sameness_reaches() -> None:
    """By default to the run's end; with dag beyond it; with never not beyond a Clear."""
    other_run = TaskKey(dag_id="dag", task_id="task", run_id="run-2")
    cleared = TaskKey(dag_id="dag", task_id="task", run_id="run-1", ask=1)
    assert name(task_key=other_run) != name()
    assert name(task_key=cleared) == name()
    assert name(task_key=other_run, reuse="dag") == name(reuse="dag")
    assert name(task_key=cleared, reuse="never") != name(reuse="never")


def test_mapped_tasks_have_different_identities() -> None:
    """Two instances of one mapped task never share a job by accident."""
    assert name(task_key=TaskKey(dag_id="dag", task_id="task", run_id="run-1", map_index=0)) != name(
        task_key=TaskKey(dag_id="dag", task_id="task", run_id="run-1", map_index=1)
    )


def test_parts_cannot_run_into_each_other() -> None:
    """A DAG a.b with task c is not a DAG a with task b.c."""
    one = TaskKey(dag_id="ab", task_id="c", run_id="r")
    two = TaskKey(dag_id="a", task_id="bc", run_id="r")
    assert name(task_key=one) != name(task_key=two)


def test_each_generation_has_names_and_a_token_of_its_own() -> None:
    """A used-up name is never asked for again."""
    identity = identify(request(), DATA, TASK_KEY, "run")
    for of in (identity.job_name, identity.model_name, identity.token):
        assert len({of(generation) for generation in range(1, 50)}) == 49


def test_exact_names_are_left_alone() -> None:
    """Who asks for exact names gets them."""
    identity = Identity(
        task_key=TASK_KEY, what="ab", reuse="run", job_prefix="my.job", model_prefix="my_model", exact=True
    )
    assert (identity.job_name(), identity.model_name()) == ("my.job", "my_model")


def test_the_token_identifies_the_ask() -> None:
    """A Clear and, where runs share the name, another run ask anew; another try does not."""
    token = Token.read(identify(request(), DATA, TASK_KEY, "dag").token(3))
    assert identify(request(), DATA, replace(TASK_KEY, try_number=2), "dag").is_of_ask(token)
    for task_key in (replace(TASK_KEY, ask=1), replace(TASK_KEY, run_id="run-2")):
        other = identify(request(), DATA, task_key, "dag")
        assert other.is_of_task(token)
        assert not other.is_of_ask(token)


A_UUID_THAT_ENDS_IN_DIGITS = "01234567-89ab-4cde-8f01-234567890123"  # one of 300 that boto3 makes
FOREIGN = [None, "", "somebody-elses", "ab", "a-b-c-d-e", "-".join("ab" for _ in range(5)), A_UUID_THAT_ENDS_IN_DIGITS]


@pytest.mark.parametrize("token", FOREIGN)
def test_a_foreign_token_is_not_ours(token: str | None) -> None:
    """A job without our token is somebody else's."""
    assert Token.read(token) is None
    identity = identify(request(), DATA, TASK_KEY, "run")
    assert not identity.is_of_task(None)
    assert not identity.is_of_ask(None)


def test_the_names_of_earlier_requests_never_change() -> None:
    """Another digest for the same request would be another paid job for everybody who upgrades."""
    asked = build_request(
        {"customizationType": "FINE_TUNING"},
        job_name="router",
        custom_model_name="router",
        role_arn="arn:aws:iam::123456789012:role/bedrock",
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri="s3://bucket/train.jsonl",
        validation_data_uri="s3://bucket/valid.jsonl",
        output_data_uri="s3://bucket/output",
        hyperparameters={"epochCount": 2, "learningRate": 1e-05},
        vpc_config={"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]},
        job_tags=[{"key": "a", "value": "b"}],
    )
    data = [{"uri": "s3://bucket/train.jsonl", "etag": '"1"', "size": 10, "version": None}]
    identity = identify(asked, data, TASK_KEY, "run")
    assert identity.job_name() == "router-wrdimb4j-ru4oi4ky"
    assert identity.model_name(2) == "router-nkq24xk3nr-ru4oi4ky-2"
    assert identity.token() == "781eea38eb4f02c40e36-26b811cf66bb74a18bd8-f013d3d962438ebc3ddf-a2ca48fe2ddaafcd414d-1"


@pytest.mark.parametrize(
    ("reuse", "job", "model"),
    [
        (
            "run",
            "0000-0001-0002-0003-0004-0005-0006-0007-000-wrdimb4j-ru4oi4kym7",
            "0000-0001-0002-0003-0004-0005-0006-0007-0-7iz4rmxlqr-ru4oi4kym7",
        ),
        (
            "dag",
            "0000-0001-0002-0003-0004-0005-0006-0007-000-wrdimb4j-7iz4rmxlqr",
            "0000-0001-0002-0003-0004-0005-0006-0007-0-7iz4rmxlqr-ru4oi4kym7",
        ),
        (
            "never",
            "0000-0001-0002-0003-0004-0005-0006-000-wrdimb4j-ru4oi4kym7-y776",
            "0000-0001-0002-0003-0004-0005-0006-0-7iz4rmxlqr-ru4oi4kym7-y776",
        ),
    ],
)
def test_a_long_prefix_is_always_cut_at_the_same_letter(reuse: Reuse, job: str, model: str) -> None:
    """A shorter cut is another name, and another name is another paid job for everybody who upgrades."""
    prefix = "".join(f"-{number:04}" for number in range(20)).removeprefix("-") + "x"
    assert len(prefix) == 100
    identity = identify(request(jobName=prefix, customModelName=prefix), DATA, replace(TASK_KEY, map_index=7), reuse)
    assert (identity.job_name(), identity.model_name()) == (job, model)
    assert len(job) == len(model) == 63


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
def test_a_model_s_name_begins_with_the_name_in_the_request(reuse: Reuse) -> None:
    """Retirement deletes what is named after the line's model, and nothing else."""
    prefix = "my.router"
    for index in (-1, 12):
        identity = identify(request(customModelName=prefix), DATA, replace(TASK_KEY, map_index=index), reuse)
        assert all(is_named_after(identity.model_name(generation), prefix) for generation in (1, 2))
        assert not is_named_after(identity.model_name(), "my")
        assert not is_named_after(f"x{identity.model_name()}", prefix)
    assert is_named_after("my-router", prefix)
    assert not is_named_after("my-router-2", prefix)


def test_a_missing_name_is_left_to_the_check_of_the_request() -> None:
    """A name made up for it would hide that it is missing."""
    for nothing in ("", None, 7):
        asked = request(jobName=nothing, customModelName=nothing)
        assert with_fitting_names(asked) == asked


def test_a_prefix_of_any_characters_makes_the_same_names_for_ever() -> None:
    """A job's name may hold dots and plus signs, a model's may not, nor may that of what serves a model."""
    asked = request(jobName=".router v1.2+é_x.", customModelName="_router v1.2_x--y-")
    identity = identify(asked, DATA, TASK_KEY, "run")
    serving = identify(asked, DATA, TASK_KEY, "run", name="customModelName", model_name=None)
    assert identity.job_name().rpartition("-wrdimb4j")[0] == "router-v1.2+-x"
    assert identity.model_name().rpartition("-7iz4rmxlqr")[0] == "router-v1-2_x-y"
    assert serving.job_name().rpartition("-wrdimb4j")[0] == "router-v1-2_x-y"


def test_names_of_a_request_in_another_script_are_the_same_after_an_upgrade() -> None:
    """Its characters count as they are: written in another way, they would make another digest, and pay again."""
    asked = request(
        customModelTags=[], outputDataConfig={"s3Uri": "s3://b/o"}, customizationConfig={"name": "Größe é 日本"}
    )
    assert identify(asked, DATA, TASK_KEY, "dag").what == "57ff54340c5989ac880d"
