"""The request is made from the arguments and checked by the service's own model."""

from __future__ import annotations

import json
from collections import UserList
from decimal import Decimal
from typing import Any

import pytest
import yaml
from botocore import xform_name
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.customization.request import (
    RequestError,
    build_request,
    check_request,
    data_uris,
    log_uris,
    normalised,
    read_request,
    refuse,
    request_problems,
    with_fitting_names,
)
from airflow_bedrock.shapes import Problem

BASE_MODEL = "amazon.nova-micro-v1:0:128k"
ARGUMENTS: dict[str, Any] = {
    "job_name": "router",
    "custom_model_name": "router",
    "role_arn": "arn:aws:iam::123456789012:role/bedrock",
    "base_model_id": BASE_MODEL,
    "training_data_uri": "s3://bucket/train.jsonl",
    "output_data_uri": "s3://bucket/output",
}


def test_the_smallest_request_passes() -> None:
    """Hyperparameters are not required; the service has defaults."""
    request = build_request({}, **ARGUMENTS)
    check_request(request)
    assert "hyperParameters" not in request


def test_numbers_become_the_strings_that_the_service_takes() -> None:
    """A hyperparameter may be written as a number."""
    request = build_request({}, **ARGUMENTS, hyperparameters={"epochCount": 2, "learningRate": 1e-05})
    assert request["hyperParameters"] == {"epochCount": "2", "learningRate": "1e-05"}
    check_request(request)


def test_the_characters_of_a_uri_that_are_at_fault_are_named() -> None:
    """A run's id in a URI is the usual mistake; the error says what to write instead, and that works."""
    run_id = "manual__2026-11-21T04:47:08.787771+00:00"
    with pytest.raises(RequestError, match=r"; Bedrock does not accept ':' '\+' here; for a run id, write \{\{ run_id"):
        check_request(build_request({}, **{**ARGUMENTS, "output_data_uri": f"s3://bucket/{run_id}"}))
    with pytest.raises(RequestError, match=r"Bedrock does not accept ' ' 'ä' here$"):
        check_request(build_request({}, **{**ARGUMENTS, "output_data_uri": "s3://bucket/a ä"}))
    mended = run_id.replace(":", "").replace("+", "")
    check_request(build_request({}, **{**ARGUMENTS, "output_data_uri": f"s3://bucket/{mended}"}))


def test_an_old_botocore_is_named_with_the_version_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else: a newer one knows the member."""
    place = "CreateModelCustomizationJob.newMember"
    monkeypatch.setattr(
        "airflow_bedrock.customization.request.missing_in_botocore",
        lambda name: "upgrade boto3" if name in (place, f"{place}Type=NEW") else "",
    )
    for path, value in (("newMember", 1), ("newMemberType", "NEW")):
        with pytest.raises(RequestError, match=rf"\n  - {path}: upgrade boto3$"):
            refuse([Problem(path, value, "it is unknown")])


def test_only_an_s3_uri_error_names_the_invalid_characters() -> None:
    """Other members have other rules, and what is no text has no characters."""
    for path, value in (("jobName", "a:b"), ("outputDataConfig.s3Uri", 7), ("outputDataConfig.s3Uri", "s3://a/b")):
        with pytest.raises(RequestError) as refused:
            refuse([Problem(path, value, "so it is")])
        assert str(refused.value).endswith(f"{path}: {value!r}: so it is")


def test_members_within_lists_may_be_given_in_snake_case() -> None:
    """As those of any other structure."""
    given = {"validation_data_config": {"validators": [{"s3_uri": "s3://b/v"}]}}
    assert build_request(given)["validationDataConfig"] == {"validators": [{"s3Uri": "s3://b/v"}]}


@pytest.mark.parametrize(("text", "value"), [("True", True), ("false", False), ("maybe", "maybe")])
def test_a_template_s_text_becomes_a_boolean(text: str, value: bool | str) -> None:
    """What is neither is left to the check, which names it."""
    given = {"trainingDataConfig": {"invocationLogsConfig": {"usePromptResponse": text}}}
    assert build_request(given)["trainingDataConfig"]["invocationLogsConfig"] == {"usePromptResponse": value}


@pytest.mark.parametrize(
    "given", ["s3://bucket/valid.jsonl", ["s3://bucket/valid.jsonl"], UserList(["s3://bucket/valid.jsonl"])]
)
def test_validation_data_may_be_one_or_several(given: Any) -> None:
    """One URI is a list of one; the output of a mapped task is a sequence that is no list."""
    request = build_request({}, **ARGUMENTS, validation_data_uri=given)
    check_request(request)
    assert data_uris(request) == ["s3://bucket/train.jsonl", "s3://bucket/valid.jsonl"]


def test_every_mistake_is_named_at_once() -> None:
    """A bad role, a bad enum and an unknown member come in one error, before anything is sent."""
    request = build_request({"customizationType": "FINETUNING", "vpc": {}}, **{**ARGUMENTS, "role_arn": "bedrock"})
    with pytest.raises(RequestError) as caught:
        check_request(request)
    message = str(caught.value)
    assert "nothing was sent" in message
    for member in ("roleArn", "customizationType", "vpc"):
        assert member in message


DISTILLATION: dict[str, Any] = {
    "jobName": "router",
    "customModelName": "router",
    "roleArn": "arn:aws:iam::123456789012:role/bedrock",
    "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
    "customizationType": "DISTILLATION",
    "trainingDataConfig": {
        "invocationLogsConfig": {
            "usePromptResponse": True,
            "invocationLogSource": {"s3Uri": "s3://bucket/logs/"},
            "requestMetadataFilters": {"equals": {"team": "support"}},
        }
    },
    "outputDataConfig": {"s3Uri": "s3://bucket/output"},
    "vpcConfig": {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]},
    "jobTags": [{"key": "team", "value": "support"}],
    "customizationConfig": {
        "distillationConfig": {
            "teacherModelConfig": {
                "teacherModelIdentifier": "amazon.nova-pro-v1:0",
                "maxResponseLengthForInference": 500,
            }
        }
    },
}


def snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {name if name in ("team",) else xform_name(name): snake_case(member) for name, member in value.items()}
    return [snake_case(member) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "form",
    [
        lambda: build_request(DISTILLATION),
        lambda: build_request(snake_case(DISTILLATION)),
        lambda: build_request({}, **snake_case(DISTILLATION)),
        lambda: build_request(read_request(json.dumps(DISTILLATION, indent=2))),
        lambda: build_request(read_request(yaml.safe_dump(DISTILLATION))),
    ],
    ids=["mapping", "snake_case mapping", "arguments", "json", "yaml"],
)
def test_each_form_of_a_request_means_the_same(form: Any) -> None:
    """The whole request can be said in any of the ways, at any depth."""
    request = form()
    check_request(request)
    assert request == DISTILLATION
    assert data_uris(request) == log_uris(request) == ["s3://bucket/logs/"]


def test_arguments_win_over_the_request() -> None:
    """A file holds what stays; the arguments say what this task wants."""
    request = build_request(DISTILLATION, job_name="other", output_data_uri="s3://bucket/elsewhere")
    assert request["jobName"] == "other"
    assert request["outputDataConfig"] == {"s3Uri": "s3://bucket/elsewhere"}
    assert request["customModelName"] == "router"


def test_rendered_templates_get_their_types_back() -> None:
    """A template renders to a string; the service wants a number and a boolean."""
    request = build_request(
        {
            **DISTILLATION,
            "trainingDataConfig": {
                "invocationLogsConfig": {
                    "usePromptResponse": "True",
                    "invocationLogSource": {"s3Uri": "s3://bucket/logs/"},
                }
            },
            "customizationConfig": {
                "distillationConfig": {
                    "teacherModelConfig": {
                        "teacherModelIdentifier": "amazon.nova-pro-v1:0",
                        "maxResponseLengthForInference": "500",
                    }
                }
            },
        }
    )
    check_request(request)
    assert request["trainingDataConfig"]["invocationLogsConfig"]["usePromptResponse"] is True


@pytest.mark.parametrize("text", ["[1, 2]", "{", "a: [", "just words"])
def test_a_file_without_a_request_is_reported(text: str) -> None:
    """Neither JSON nor YAML, or not a mapping."""
    with pytest.raises(RequestError):
        read_request(text)


def test_what_is_not_known_yet_is_not_refused() -> None:
    """Before templates are rendered only what is final can be wrong."""
    request = build_request({}, **{**ARGUMENTS, "role_arn": "{{ var.value.role }}", "job_name": "no spaces allowed"})
    found = request_problems(request, known=lambda value: "{{" not in str(value))
    assert [problem.path for problem in found] == ["jobName"]


def test_a_request_may_use_the_names_of_the_arguments() -> None:
    """The short names of the amazon provider too, at the top."""
    given = {**{name: value for name, value in ARGUMENTS.items() if not name.endswith("uri")}, "hyperparameters": {}}
    places = {"training_data_uri": ARGUMENTS["training_data_uri"], "output_data_uri": ARGUMENTS["output_data_uri"]}
    assert build_request(given, **places) == build_request({}, **ARGUMENTS, hyperparameters={})


@pytest.mark.parametrize(
    ("given", "further", "arguments", "both"),
    [
        (
            {},
            {},
            {"training_data_uri": "s3://b/a", "training_data_config": {"s3Uri": "s3://b/b"}},
            "trainingDataConfig",
        ),
        ({}, {}, {"hyperparameters": {"epochCount": "1"}, "hyper_parameters": {"epochCount": "2"}}, "hyperParameters"),
        ({}, {"roleArn": "a"}, {"role_arn": "b"}, "roleArn"),
        ({}, {"outputDataConfig": {"s3Uri": "s3://b/a"}}, {"output_data_uri": "s3://b/b"}, "outputDataConfig"),
        ({"base_model_id": "a", "baseModelIdentifier": "b"}, {}, {}, "baseModelIdentifier"),
    ],
)
def test_what_is_said_twice_is_refused(given: Any, further: Any, arguments: Any, both: str) -> None:
    """The error has both names; none overrides the other silently."""
    with pytest.raises(RequestError, match=f" and .* both set {both}: set only one of them"):
        build_request(given, further, **arguments)


def test_further_members_win_over_the_request() -> None:
    """They are an argument too."""
    assert build_request(DISTILLATION, {"jobName": "other"})["jobName"] == "other"


def test_nothing_is_as_good_as_absent() -> None:
    """A null of a file is not sent, at any depth: boto3 would refuse it."""
    config = {"s3Uri": "s3://bucket/train.jsonl", "invocationLogsConfig": None}
    request = build_request({**DISTILLATION, "trainingDataConfig": config, "jobTags": None})
    assert "jobTags" not in request
    assert request["trainingDataConfig"] == {"s3Uri": "s3://bucket/train.jsonl"}


def test_a_token_is_refused() -> None:
    """The operator derives it, and would not use this one."""
    with pytest.raises(RequestError, match="clientRequestToken: 'mine': remove it: the operator derives it"):
        check_request(build_request({}, **ARGUMENTS, client_request_token="mine"))


@pytest.mark.parametrize("name", [5, 20261121, True])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    """Also where a digest is added to it: YAML reads ``jobName: 20261121`` as a number."""
    request = with_fitting_names(build_request({}, **{**ARGUMENTS, "job_name": name, "custom_model_name": name}))
    with pytest.raises(RequestError, match=f"jobName: {name}: Member must be a string") as caught:
        check_request(request)
    assert f"customModelName: {name}: Member must be a string" in str(caught.value)


@given(
    st.dictionaries(
        st.text(max_size=20),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_a_mapping_is_read_back_from_what_a_template_renders_of_it(mapping: dict[str, Any]) -> None:
    """Jinja writes a mapping as Python does: single quotes, True, None, escapes."""
    assert read_request(str(mapping)) == mapping


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_nothing_given_is_an_empty_mapping(nothing: Any) -> None:
    """A template may render to nothing."""
    assert read_request(nothing) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([("a", 1)], "request must be a mapping of members; got list"),
        (5, "got int"),
        ("ok.txt", r"got str \(a file's name ends in .json, .yaml, .yml\)"),
        ("[1, 2]", "got list"),
        ("# only a comment", "got NoneType"),
    ],
)
def test_an_invalid_mapping_is_refused(given: Any, said: str) -> None:
    """And never taken for nothing."""
    with pytest.raises(RequestError, match=said):
        read_request(given)


def test_of_a_part_nothing_is_missing() -> None:
    """The rest may stand in a file; what is there is checked, but not what depends on the rest."""
    part = {"roleArn": "bedrock", "baseModelIdentifier": BASE_MODEL, "hyperParameters": {"ofAnotherMethod": "1"}}
    assert [problem.path for problem in request_problems(part, whole=False)] == ["roleArn"]
    assert {"jobName", "hyperParameters.ofAnotherMethod"} <= {problem.path for problem in request_problems(part)}
    nested = {"vpcConfig": {"subnetIds": ["subnet-1"]}}
    assert [problem.path for problem in request_problems(nested, whole=False)] == ["vpcConfig.securityGroupIds"]


@pytest.mark.parametrize(
    "spellings",
    [(1e-5, 0.00001, "1e-5", "0.00001", "1.0E-05", "+.00001"), (2, 2.0, "2", "2.0", "2.", "02"), (0, "-0.0")],
)
def test_a_hyperparameter_is_one_however_it_is_written(spellings: tuple[Any, ...]) -> None:
    """In the identity; what is sent is what was given."""
    counted = [normalised({"hyperParameters": {"learningRate": value}}) for value in spellings]
    assert all(one == counted[0] for one in counted)


def test_numbers_elsewhere_are_one_too_and_texts_are_left() -> None:
    """A text outside the hyperparameters is no number, even if it looks like one; neither is True."""
    request = {
        "customizationConfig": {
            "rftConfig": {"hyperParameters": {"epochCount": 2, "learningRate": "1e-5"}},
            "n": [2.0],
        },
        "baseModelIdentifier": "2.0",
        "usePromptResponse": True,
        "hyperParameters": {"evalInterval": "auto", "nothing": "nan", "large": "1e99999999999"},
    }
    counted = normalised(request)
    assert counted["customizationConfig"] == {
        "rftConfig": {"hyperParameters": {"epochCount": "2", "learningRate": "0.00001"}},
        "n": ["2"],
    }
    assert {**counted, "customizationConfig": None} == {**request, "customizationConfig": None}
    assert counted["usePromptResponse"] is True


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_count_as_one_if_and_only_if_they_are_equal(one: Decimal, other: Decimal) -> None:
    """Nothing is rounded; and to count a request again changes nothing."""
    counted = [normalised({"hyperParameters": {"x": str(number)}}) for number in (one, other)]
    assert (counted[0] == counted[1]) == (one == other)
    assert normalised(counted[0]) == counted[0]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_as_its_text(number: float) -> None:
    """A template renders a text where a DAG file holds a number."""
    assert normalised({"hyperParameters": {"x": number}}) == normalised({"hyperParameters": {"x": str(number)}})


@given(st.text())
def test_any_text_may_be_a_hyperparameter(text: str) -> None:
    """What is no number is left unchanged; to normalise it again changes nothing."""
    counted = normalised({"hyperParameters": {"x": text}})
    assert normalised(counted) == counted


@pytest.mark.parametrize(("partition", "region"), [("aws-us-gov", "us-gov-west-1"), ("aws-cn", "cn-north-1")])
def test_arns_of_other_partitions_are_taken(partition: str, region: str) -> None:
    """And the base model's rules hold for it there as well."""
    arguments = {
        **ARGUMENTS,
        "role_arn": f"arn:{partition}:iam::123456789012:role/bedrock",
        "base_model_id": f"arn:{partition}:bedrock:{region}::foundation-model/{BASE_MODEL}",
        "custom_model_kms_key_id": f"arn:{partition}:kms:{region}:123456789012:alias/mine",
    }
    check_request(with_fitting_names(build_request({}, **arguments)))
    with pytest.raises(RequestError, match="epochCount"):
        check_request(with_fitting_names(build_request({}, hyperparameters={"epochCount": "1000"}, **arguments)))
