"""Which actions on which resources a call performs, with which condition keys, and whether its caller is allowed to.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html, and so on for OTHERS
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.parsers.expat import ExpatError

import xmltodict  # type: ignore[import-untyped]  # moto's own; it comes without types

from airflow_bedrock.local import moto
from airflow_bedrock.local.settings import ACCOUNT
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.web.callers import Caller
from airflow_bedrock.local.web.s3 import S3Request

_ACTIONS = {"Converse": "InvokeModel", "ConverseStream": "InvokeModelWithResponseStream"}
"""Bedrock's actions whose name differs from the operation's."""

_NAMING = {
    "resourceARN": ("",),
    "customModelDeploymentIdentifier": ("custom-model-deployment",),
    "provisionedModelId": ("provisioned-model",),
    "inferenceProfileIdentifier": ("inference-profile",),
    "jobArn": ("model-copy-job",),
    "jobIdentifier": ("model-customization-job",),
    "modelIdentifier": ("custom-model",),
    "modelArn": ("custom-model",),
    "sourceModelArn": ("custom-model",),
    "modelId": ("foundation-model", "custom-model", "provisioned-model"),
    "baseModelIdentifier": ("foundation-model", "custom-model"),
}
"""The members that name the resource of a call (the first one present counts), and the kinds that they name."""

_TAGS = ("tags", "jobTags", "customModelTags", "targetModelTags")

_S3_ACTIONS = {
    "CompleteMultipartUpload": ("PutObject",),
    "CopyObject": ("PutObject",),
    "CreateMultipartUpload": ("PutObject",),
    "DeleteBucketCors": ("PutBucketCORS",),
    "DeleteBucketEncryption": ("PutEncryptionConfiguration",),
    "DeleteBucketLifecycle": ("PutLifecycleConfiguration",),
    "DeleteBucketTagging": ("PutBucketTagging",),
    "DeleteObjects": ("DeleteObject",),
    "GetBucketEncryption": ("GetEncryptionConfiguration",),
    "GetBucketLifecycleConfiguration": ("GetLifecycleConfiguration",),
    "GetBucketNotificationConfiguration": ("GetBucketNotification",),
    "GetObjectAttributes": ("GetObject", "GetObjectAttributes"),
    "HeadBucket": ("ListBucket",),
    "HeadObject": ("GetObject",),
    "ListBuckets": ("ListAllMyBuckets",),
    "ListMultipartUploads": ("ListBucketMultipartUploads",),
    "ListObjects": ("ListBucket",),
    "ListObjectsV2": ("ListBucket",),
    "ListObjectVersions": ("ListBucketVersions",),
    "ListParts": ("ListMultipartUploadParts",),
    "POST": ("PutObject",),
    "PutBucketEncryption": ("PutEncryptionConfiguration",),
    "PutBucketLifecycleConfiguration": ("PutLifecycleConfiguration",),
    "PutBucketNotificationConfiguration": ("PutBucketNotification",),
    "UploadPart": ("PutObject",),
    "UploadPartCopy": ("PutObject",),
}
"""S3's actions whose name differs from the operation's."""


OTHERS = {"athena", "cloudwatch", "ram", "sqs"}
"""Services of moto whose callers are checked."""


def check_bedrock(caller: Caller, bedrock: Bedrock, operation: str, parameters: Mapping[str, Any]) -> None:
    """Check that the caller may call an operation of Bedrock, and pass the role in its request.

    :raises ServiceError: AccessDeniedException.
    """
    every_call = _of_every_call(bedrock.region, bedrock.account)
    context = {**every_call, **_of_tags(parameters)}
    guardrail = parameters.get("guardrailIdentifier") or parameters.get("guardrailConfig", {}).get(
        "guardrailIdentifier"
    )
    if guardrail:
        context["bedrock:guardrailidentifier"] = guardrail
    resource = _resource(bedrock, operation, parameters)
    tags = bedrock.tags.get(resource, {})
    context |= {f"aws:resourcetag/{name.lower()}": value for name, value in tags.items()}
    caller.check(f"bedrock:{_ACTIONS.get(operation, operation)}", resource, context)
    if role := _role(parameters):
        passed = {**every_call, "iam:passedtoservice": "bedrock.amazonaws.com"}
        caller.check("iam:PassRole", role, passed)


def check_s3(caller: Caller, request: S3Request, region: str, environ: Mapping[str, Any]) -> None:
    """Check that the caller may call an operation of S3, and read the source of a copy.

    :raises ServiceError: AccessDeniedException.
    """
    query = dict(reversed(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)))  # the first of a name counts
    listing = {f"s3:{name}": query[name] for name in ("prefix", "delimiter", "max-keys") if name in query}
    context = {**_of_every_call(region), "s3:resourceaccount": ACCOUNT, **listing}
    for action in _S3_ACTIONS.get(request.operation, (request.operation,)):
        for resource in _s3_resources(request, environ):
            caller.check(f"s3:{action}", resource, context, quote='"')
    if source := environ.get("HTTP_X_AMZ_COPY_SOURCE"):
        place = unquote(source.partition("?")[0]).lstrip("/")
        caller.check("s3:GetObject", f"arn:aws:s3:::{place}", context, quote='"')


def check_other(
    caller: Caller, service: str, operation: str, parameter: Callable[[str], Any], region: str, account: str
) -> None:
    """Check that the caller may call an operation of one of OTHERS.

    :param parameter: returns a parameter of the call by its name, or None.
    :raises ServiceError: AccessDeniedException.
    """
    resource, context = "*", _of_every_call(region, account)
    own = f"arn:aws:{service}:{region}:{account}:"
    if service == "athena" and operation.endswith("QueryExecution"):
        query = parameter("QueryExecutionId")
        group = moto.work_group_of(str(query), account, region) if query else parameter("WorkGroup")
        resource = f"{own}workgroup/{group or 'primary'}"
    elif service == "sqs" and (queue := parameter("QueueUrl") or parameter("QueueName")):
        resource = own + str(queue).rpartition("/")[2]
    elif service == "ram" and (share := parameter("resourceShareArn")):
        resource = str(share)
        context["ram:resourcesharename"] = moto.share_name(resource, account, region) or ""
    elif operation == "CreateResourceShare":
        outsiders = parameter("allowExternalPrincipals")
        context["ram:requestedallowsexternalprincipals"] = str(outsiders is not False).lower()
    action = operation.removesuffix("Batch") if service == "sqs" else operation
    caller.check(f"{service}:{action}", resource, context)


def _of_every_call(region: str, account: str = ACCOUNT) -> dict[str, Any]:
    keys = {"aws:requestedregion": region, "aws:resourceaccount": account, "aws:sourceip": "127.0.0.1"}
    return keys | {"aws:securetransport": "true", "aws:principalisawsservice": "false", "aws:viaawsservice": "false"}


def _of_tags(parameters: Mapping[str, Any]) -> dict[str, Any]:
    tags = {one["key"]: one["value"] for member in _TAGS for one in parameters.get(member, [])}
    keys = [*tags, *parameters.get("tagKeys", [])]
    return {f"aws:requesttag/{name.lower()}": value for name, value in tags.items()} | (
        {"aws:tagkeys": keys} if keys else {}
    )


def _role(parameters: Mapping[str, Any]) -> str | None:
    logging = parameters.get("loggingConfig", {}).get("cloudWatchConfig", {})
    role: str | None = parameters.get("roleArn") or logging.get("roleArn")
    return role


def _resource(bedrock: Bedrock, operation: str, parameters: Mapping[str, Any]) -> str:
    """Return the ARN of the resource of a call; ``*`` if it has no particular resource."""
    member = next((name for name in _NAMING if name in parameters), None)
    if member is None or (operation.startswith("List") and operation != "ListTagsForResource"):
        return "*"
    identifier, kinds = str(parameters[member]), _kinds(operation, member)
    if identifier.startswith("arn:"):
        return identifier
    with bedrock.world.lock:
        for one in bedrock.resources():
            if identifier in (one.name, one.id) and one.arn.split(":", 5)[5].partition("/")[0] in kinds:
                return one.arn
    account = "" if kinds[0] == "foundation-model" else bedrock.account
    return f"arn:aws:bedrock:{bedrock.region}:{account}:{kinds[0]}/{identifier}"


def _kinds(operation: str, member: str) -> tuple[str, ...]:
    if member == "jobIdentifier" and "Invocation" in operation:
        return ("model-invocation-job",)
    if "Import" in operation:
        return ("model-import-job",) if member == "jobIdentifier" else ("imported-model",)
    return ("foundation-model",) if "Foundation" in operation else _NAMING[member]


def _s3_resources(request: S3Request, environ: Mapping[str, Any]) -> list[str]:
    if not request.bucket:
        return ["*"]
    bucket = f"arn:aws:s3:::{request.bucket}"
    if request.operation == "DeleteObjects":
        return [f"{bucket}/{key}" for key in _keys(environ)]
    if request.operation == "POST":
        return [f"{bucket}/*"]
    return [f"{bucket}/{request.key}" if request.key else bucket]


def _keys(environ: Mapping[str, Any]) -> list[str]:
    body = environ["wsgi.input"].read()
    environ["wsgi.input"].seek(0)
    try:
        objects = xmltodict.parse(body, force_list=("Object",), strip_whitespace=False)["Delete"]["Object"]
        return [one["Key"] for one in objects]
    except (ExpatError, KeyError, TypeError):
        return ["*"]  # moto reports the error to a caller who is allowed to delete everything
