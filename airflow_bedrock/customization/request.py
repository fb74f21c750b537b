"""Build the CreateModelCustomizationJob request from any form of input, and check it against the service model.

The service model that botocore ships is the schema, so a new member, type or enum value works as soon as botocore has
it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import MAX_EMAX, MIN_EMIN, Context
from typing import Any, Literal

from airflow_bedrock.shapes import Problem, input_shape, missing_in_botocore, problems

Reuse = Literal["run", "dag", "never"]
"""Which jobs count: those of the DAG run, those of all runs of the DAG, or only those of the same ask."""

Superseded = Literal["stop", "keep", "fail"]
"""What to do with a running job of an earlier ask if the request has changed."""

# The names of the amazon provider's arguments that are not the member's name in snake_case.
SHORT_NAMES = {"base_model_id": "baseModelIdentifier", "hyperparameters": "hyperParameters"}
# The operator's arguments for the required members.
_ARGUMENTS = {
    "jobName": "job_name",
    "customModelName": "custom_model_name",
    "roleArn": "role_arn",
    "baseModelIdentifier": "base_model_id",
    "trainingDataConfig": "training_data_uri",
    "outputDataConfig": "output_data_uri",
}
REQUEST_FILES = (".json", ".yaml", ".yml")
_UNSENT = "Nothing was sent and nothing was spent."
_NUMBER = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,9})?"
_NOT_IN_S3_URIS = r"[^-!_*'()./a-zA-Z0-9]"


class RequestError(ValueError):
    """A request that the service would refuse; it was not sent, and nothing was spent."""


def build_request(
    given: Mapping[str, Any],
    further: Mapping[str, Any] | None = None,
    *,
    oldest: bool = False,
    training_data_uri: str | None = None,
    validation_data_uri: str | Sequence[str] | None = None,
    output_data_uri: str | None = None,
    **members: Any,
) -> dict[str, Any]:
    """Return the request in the API's own names and types.

    :param given: the request to start from, with the API's names (as for ``--cli-input-json``), in snake_case, or with
        short names.
    :param further: the operator's ``customization_job_kwargs``: members that override ``given``.
    :param oldest: know only what the oldest supported botocore knows.
    :param training_data_uri: short for ``trainingDataConfig.s3Uri``.
    :param validation_data_uri: short for ``validationDataConfig.validators``: one S3 URI or several.
    :param output_data_uri: short for ``outputDataConfig.s3Uri``.
    :param members: further members by short name (``base_model_id``) or in snake_case (``vpc_config``); these and the
        URIs override ``given``. None counts as not given.
    :raises RequestError: a member is given twice, under two names.
    """
    configs = _data_configs(training_data_uri, validation_data_uri, output_data_uri)
    extra = [(f"customization_job_kwargs[{name!r}]", name, value) for name, value in (further or {}).items()]
    arguments = [(name, name, value) for name, value in members.items()]
    shape = request_shape(oldest=oldest)
    request: dict[str, Any] = _api_form(
        shape,
        _once(shape, ((name, name, value) for name, value in given.items()))
        | _once(shape, [*extra, *configs, *arguments]),
    )
    return request


def _data_configs(training: str | None, validation: object, output: str | None) -> Iterator[tuple[str, str, object]]:
    """Return the arguments for data configs: argument, member, and value."""
    if training is not None:
        yield "training_data_uri", "trainingDataConfig", {"s3Uri": training}
    if validation:
        several = isinstance(validation, Sequence) and not isinstance(validation, str)  # a mapped task's output, too
        uris: Any = validation if several else [validation]
        yield "validation_data_uri", "validationDataConfig", {"validators": [{"s3Uri": uri} for uri in uris]}
    if output is not None:
        yield "output_data_uri", "outputDataConfig", {"s3Uri": output}


def _once(shape: Any, given: Iterable[tuple[str, str, object]]) -> dict[str, object]:
    """Return the values by the API's names of their members.

    :raises RequestError: a member is given twice.
    """
    request: dict[str, object] = {}
    said_by: dict[str, str] = {}
    for argument, name, value in given:
        if value is None:
            continue
        member = SHORT_NAMES.get(name) or _api_name(shape, name)
        if member in request:
            raise RequestError(f"{said_by[member]} and {argument} both set {member}: set only one of them. {_UNSENT}")
        request[member], said_by[member] = value, argument
    return request


def read_request(given: object, what: str = "request") -> Mapping[str, Any]:
    """Return a request, or a part of one, as a mapping; a text is parsed.

    :param given: a mapping; or a text as for ``aws bedrock create-model-customization-job --cli-input-json`` or -yaml,
        or as a template renders a mapping. An empty value, such as None, is an empty mapping.
    :param what: its name, for errors.
    :raises RequestError: it is neither a mapping nor the text of one.
    """
    if not given:
        return {}
    content = _read(given, what) if isinstance(given, str) else given
    if not isinstance(content, Mapping):
        files = f" (a file's name ends in {', '.join(REQUEST_FILES)})" if isinstance(content, str) else ""
        raise RequestError(f"{what} must be a mapping of members; got {type(content).__name__}{files}. {_UNSENT}")
    return content


def _read(text: str, what: str) -> object:
    import yaml

    try:
        # YAML includes JSON, except for a few escapes, but its errors are hard to understand for JSON.
        return json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        try:
            return ast.literal_eval(text.strip())  # a template renders a mapping as its repr
        except (ValueError, SyntaxError, TypeError):
            raise RequestError(f"{what} is neither JSON nor YAML: {error}. {_UNSENT}") from error


def normalised(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request as the identity uses it, with one spelling for each number.

    ``1e-5``, ``0.00001`` and ``"0.00001"`` are the same hyperparameter, and so are ``2``, ``2.0`` and ``"2"``. Only in
    hyperparameters is a text read as a number, since the service expects them as texts.
    """
    return {name: _normalised(value, name) for name, value in request.items()}


def _normalised(value: Any, name: str, among_hyperparameters: bool = False) -> Any:
    among = among_hyperparameters or name == "hyperParameters"
    if isinstance(value, Mapping):
        return {key: _normalised(member, key, among) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normalised(member, name, among) for member in value]
    if isinstance(value, bool) or not isinstance(value, (int, float, str) if among else (int, float)):
        return value
    text = str(value)
    return _one_number(text) if re.fullmatch(_NUMBER, text) else value


def _one_number(text: str) -> str:
    context = Context(prec=len(text), Emax=MAX_EMAX, Emin=MIN_EMIN)  # nothing is rounded
    number = context.create_decimal(text).normalize(context)
    return str(number) if number else "0"


def data_uris(request: Mapping[str, Any]) -> list[str]:
    """Return the S3 URIs that the job will read: the training data or invocation logs first, then the validators."""
    training = request.get("trainingDataConfig", {})
    logs = training.get("invocationLogsConfig", {}).get("invocationLogSource", {})
    validators = request.get("validationDataConfig", {}).get("validators", [])
    return [source["s3Uri"] for source in (training, logs, *validators) if source.get("s3Uri")]


def log_uris(request: Mapping[str, Any]) -> list[str]:
    """Return which of the :func:`data_uris` are of invocation logs: everything under such a URI is read."""
    logs = request.get("trainingDataConfig", {}).get("invocationLogsConfig", {}).get("invocationLogSource", {})
    return [logs["s3Uri"]] if logs.get("s3Uri") else []


def request_problems(
    request: Mapping[str, Any],
    known: Callable[[object], bool] = lambda value: True,
    *,
    whole: bool = True,
    oldest: bool = False,
) -> list[Problem]:
    """Return every reason why the service would refuse the request, by its model and by ``base_models.toml``.

    :param known: returns whether a value is final; problems of other values, such as unrendered templates, do not
        count.
    :param oldest: know only what the oldest supported botocore knows.
    :param whole: False if more members may follow: then missing members and rules about two members are not checked.
    """
    shape = request_shape(oldest=oldest)
    found = problems(shape, request)
    if (token := request.get("clientRequestToken")) is not None:
        rule = "remove it: the operator derives it, so that a retry finds its job instead of paying for another"
        found = [Problem("clientRequestToken", token, rule), *found]
    if not whole:
        found = [one for one in found if one.path not in shape.required_members or one.value is not None]
    elif request.get("hyperParameters"):
        # Here, since a DAG file without hyperparameters does not need the facts about base models.
        from airflow_bedrock.customization.model_rules import hyperparameter_problems

        found += hyperparameter_problems(request)
    return [problem for problem in found if known(problem.value)]


def with_fitting_names(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with names that the service accepts.

    It is for checking a request before its identity is known: the given names are prefixes of any text, from which the
    identity makes such names. A name that is empty or not a text is left unchanged.
    """
    prefixes = [name for name in ("jobName", "customModelName") if isinstance(request.get(name), str) and request[name]]
    return {**request, **dict.fromkeys(prefixes, "name")}


def check_request(request: Mapping[str, Any]) -> None:
    """Check the whole request.

    :raises RequestError: names each member that the service would refuse, with its value and the rule.
    """
    refuse(request_problems(request))


def refuse(found: Sequence[Problem]) -> None:
    """Raise one error that lists all problems, if there are any.

    :raises RequestError: there are problems.
    """
    if found:
        lines = "\n".join(f"  - {problem.path}: {_shown(problem)}" for problem in found)
        raise RequestError(
            "CreateModelCustomizationJob would be refused; nothing was sent and nothing was spent. Fix these "
            f"(source: botocore's model of the service):\n{lines}"
        )


def _shown(problem: Problem) -> str:
    if problem.value is None:
        argument = _ARGUMENTS.get(problem.path)
        return f"{problem.rule} (set {argument})" if argument else problem.rule
    place = f"CreateModelCustomizationJob.{problem.path}"
    if too_new := missing_in_botocore(place) or missing_in_botocore(f"{place}={problem.value}"):
        return too_new
    value = repr(problem.value)
    return f"{value if len(value) <= 80 else value[:77] + '…'}: {problem.rule}{_hint(problem)}"


def _hint(problem: Problem) -> str:
    """Name the invalid characters of an S3 URI, which usually come from a run id."""
    if not problem.path.endswith("s3Uri") or not isinstance(problem.value, str):
        return ""
    foreign = dict.fromkeys(re.findall(_NOT_IN_S3_URIS, problem.value.removeprefix("s3://")))
    if not foreign:
        return ""
    found = f"; Bedrock does not accept {' '.join(map(repr, foreign))} here"
    run_id = "; for a run id, write {{ run_id.replace(':', '').replace('+', '') }}"
    return found + run_id if foreign.keys() & {":", "+"} else found


def request_shape(*, oldest: bool = False) -> Any:
    """Botocore's shape of the request.

    :param oldest: of the oldest supported botocore instead of the installed one.
    """
    return input_shape("bedrock", "CreateModelCustomizationJob", oldest=oldest)


def _api_form(shape: Any, value: Any) -> Any:
    """Convert members to their API names, and values to types that a template or a YAML file cannot express."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        named = {_api_name(shape, name): member for name, member in value.items() if member is not None}
        return {
            name: _api_form(shape.members[name], member) if name in shape.members else member
            for name, member in named.items()
        }
    if shape.type_name == "list" and isinstance(value, (list, tuple)):
        return [_api_form(shape.member, member) for member in value]
    if shape.type_name == "map" and isinstance(value, Mapping):
        # Hyperparameters are strings for the service, and numbers for their authors.
        return {name: str(member) if isinstance(member, (int, float)) else member for name, member in value.items()}
    return _parsed(value, shape.type_name) if isinstance(value, str) else value


def _api_name(shape: Any, name: str) -> str:
    """Return the API's name of a member that is given in snake_case; any other name unchanged."""
    if name in shape.members:
        return name
    first, *others = str(name).split("_")
    camel_case = "".join([first, *map(str.capitalize, others)])
    if camel_case in shape.members and str(name).islower():
        return camel_case
    from botocore import xform_name  # here, since a DAG file does not need it

    return next((member for member in shape.members if xform_name(member) == name), str(name))


def _parsed(text: str, kind: str) -> object:
    """Convert text in place of a number or a boolean; return any other text unchanged: the check reports it."""
    if kind in ("boolean", "integer", "long", "float", "double"):
        with suppress(ValueError):
            return json.loads(text.lower())
    return text
