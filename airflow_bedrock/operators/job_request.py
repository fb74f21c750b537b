"""Build the request, the identity and the key of a customization task from its operator's arguments.

When the DAG is parsed, the arguments that are already final are checked; when the task runs, all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import Context

from airflow_bedrock import __version__, configuration, customization, jobs
from airflow_bedrock.customization.request import (
    REQUEST_FILES,
    RequestError,
    build_request,
    check_request,
    data_uris,
    log_uris,
    read_request,
    refuse,
    request_problems,
    with_fitting_names,
)
from airflow_bedrock.exceptions import ArgumentError, BedrockError, BedrockFatalError, nothing_spent
from airflow_bedrock.operators.arguments import flag, is_literal
from airflow_bedrock.shapes import Problem

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_bedrock.customization.identity import Identity, TaskKey


_TAGS = ("jobTags", "customModelTags")
_NOTHING_SPENT = "This try made no job and spent nothing."


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's arguments: as written when the DAG is parsed, rendered when the task runs.

    :param members: the members of the request, by the operator's names for them.
    """

    members: Mapping[str, Any]
    request: object
    customization_job_kwargs: object
    ensure_unique_job_name: object
    reuse: Any
    content: object
    preflight: bool
    tag_resources: bool

    @property
    def exact(self) -> bool:
        """Whether the names are used unchanged, without a digest."""
        return not flag(self.ensure_unique_job_name)


def is_file(request: object) -> bool:
    """Whether ``request=`` is the path of a file."""
    return isinstance(request, str) and request.endswith(REQUEST_FILES)


def read_file(request: Any, environment: jinja2.Environment, context: Context) -> Any:
    """Return the rendered text of the request's file; a request that is not a file is returned unchanged.

    :raises BedrockFatalError: there is no such file, or it is not UTF-8.
    :raises BedrockError: a template in it could not be rendered.
    """
    if not is_file(request):
        return request
    from jinja2 import TemplateNotFound

    try:
        return environment.get_template(request).render(context)
    except TemplateNotFound as error:
        raise BedrockFatalError(
            f"File {error.name} does not exist. The path in request= must be relative to the DAG file's folder or to "
            f"a folder in the DAG's template_searchpath. {_NOTHING_SPENT}"
        ) from error
    except UnicodeDecodeError as error:
        raise BedrockFatalError(
            f"The file {request} is not UTF-8: {error}. Save it as UTF-8. {_NOTHING_SPENT}"
        ) from error
    except Exception as error:
        raise unrendered(f"The file {request}", error) from error


def unrendered(what: str, error: Exception) -> BedrockError:
    """Return the error of a part of the request that could not be rendered."""
    if isinstance(error, BedrockError):
        return error
    return BedrockError(f"{what} could not be rendered: {error}. {_NOTHING_SPENT}")


def check_when_parsed(args: Arguments) -> None:
    """Check the request when the DAG is parsed.

    The service model of the installed botocore is read only for a request that the oldest supported one does not
    accept: reading it takes a tenth of the time of the whole parse.

    :raises ArgumentError: lists each mistake, or a resource has too many tags.
    """
    try:
        if _problems_when_parsed(args, oldest=True):
            refuse(_problems_when_parsed(args, oldest=False))
    except ValueError as error:
        raise ArgumentError(str(error)) from error


def _problems_when_parsed(args: Arguments, *, oldest: bool) -> list[Problem]:
    given, further = args.request, args.customization_job_kwargs
    here = [value if _is_here(value) else None for value in (given, further)]
    request = _request(args, *here, oldest=oldest)
    for member in _TAGS if args.tag_resources else ():
        if isinstance(tags := request.get(member), (list, tuple)):
            customization.tags.check_count(tags)
    whole = _is_here(given) and _is_here(further)
    return request_problems(_nameable(args, request), known=is_literal, whole=whole, oldest=oldest)


def _is_here(value: object) -> bool:
    """Whether the argument itself has the members: not a file, a template, or the output of another task."""
    return isinstance(value, Mapping) or (is_literal(value) and not is_file(value))


def request_of(args: Arguments) -> dict[str, Any]:
    """Return the request, from rendered arguments.

    :raises RequestError: an argument is not a mapping, or a member is given twice.
    """
    return _request(args, args.request, args.customization_job_kwargs)


def _request(args: Arguments, request: object, further: object, *, oldest: bool = False) -> dict[str, Any]:
    return build_request(
        read_request(request, "request"),
        read_request(further, "customization_job_kwargs"),
        oldest=oldest,
        **args.members,
    )


def _nameable(args: Arguments, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request with valid names, for the check."""
    exact = is_literal(args.ensure_unique_job_name) and args.exact
    return request if exact else with_fitting_names(request)


def checked_request(args: Arguments, task_key: TaskKey) -> dict[str, Any]:
    """Return the request, from rendered arguments, with the tags of the task.

    :raises BedrockFatalError: lists each mistake.
    """
    try:
        request = request_of(args)
        check_request(_nameable(args, request))
        if args.tag_resources:
            tags = customization.tags.automatic_tags(task_key, __version__)
            for member in _TAGS:
                request[member] = customization.tags.with_tags(request.get(member, []), tags)
    except RequestError as error:
        raise BedrockFatalError(str(error)) from error
    except ValueError as error:
        raise BedrockFatalError(f"{error}. {_NOTHING_SPENT}") from error
    return request


def identity_of(args: Arguments, request: Mapping[str, Any], task_key: TaskKey, s3: S3Hook | None = None) -> Identity:
    """Return the identity of the job, after a check of the locations in the request.

    :param s3: reads the data; without it, the identity only serves to find the task's own jobs, whatever their request.
    :raises RequestError: the request names no job, or no model.
    :raises BedrockFatalError: a location does not exist, is in another region, or cannot be read.
    :raises BedrockError: S3 did not respond.
    """
    if missing := {"jobName", "customModelName"} - request.keys():
        if s3 is not None or args.exact:
            raise RequestError(f"The request has no {', '.join(sorted(missing))}")
        request = {**request, **dict.fromkeys(missing, "")}  # the other parts of the names find the jobs
    data = [] if s3 is None else _content(args, request, s3)
    return customization.identity.identify(request, data, task_key, args.reuse, exact=args.exact)


def _content(args: Arguments, request: Mapping[str, Any], s3: S3Hook) -> list[dict[str, Any]]:
    """Return what identifies the content; the same with ``preflight`` on and off."""
    uris, ignored = data_uris(request), args.content == "ignore"
    if ignored and not args.preflight:
        return []
    with nothing_spent("Reading the data and the buckets in S3"):
        jobs.s3.check_buckets(s3, [*uris, request["outputDataConfig"]["s3Uri"]], s3.conn_region_name)
        return [] if ignored else jobs.s3.describe_data(s3, uris, folders=log_uris(request))


def task_key_of(context: Context) -> TaskKey:
    """Return the key of the task instance. Call it in a worker: in a triggerer ``max_tries`` differs."""
    ti = context["ti"]
    return customization.identity.TaskKey(
        environment=configuration.environment(),
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        partition_key=getattr(context["dag_run"], "partition_key", None),
        # A Clear of the task increases it; a retry and a sibling's Clear do not.
        ask=ti.max_tries,
        try_number=ti.try_number,
        retries=getattr(getattr(ti, "task", None), "retries", None) or 0,
        since=getattr(context["dag_run"], "run_after", None),
    )
