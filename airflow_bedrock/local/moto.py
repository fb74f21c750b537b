"""The adapter to moto, and the only module that imports it.

It has moto's application, its service models and their parser, those of its objects that no API returns, and the
corrections: S3's events, the account in events, which resources can be shared.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from threading import Lock
from typing import Any
from urllib.parse import unquote

from botocore import xform_name
from moto.core.errors import COMMON_ERROR_CODES
from moto.core.eventstream import EventStreamEncoder
from moto.core.model import OperationModel
from moto.core.parse import RequestDict, RestJSONParser
from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    Request,
    environ_key_for_header,
    should_preserve_original_header_name,
)
from moto.core.responses import ActionResult, BaseResponse
from moto.core.routing import RestRouter
from moto.core.utils import get_service_model as service_model
from moto.events.models import events_backends
from moto.events.utils import EventTemplateParser
from moto.iam.models import IAMBackend, get_account_id_from, iam_backends
from moto.iam.responses import IamResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.ram.models import ResourceShare, ram_backends
from moto.s3 import notifications
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeKey, FakeMultipart, s3_backends
from moto.sts.models import AssumedRole, sts_backends
from werkzeug.exceptions import NotFound

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.settings import ACCOUNT

__all__ = ["AssumedRole", "FakeKey", "FakeMultipart", "OperationModel", "RequestDict", "service_model"]

encode_message = EventStreamEncoder().encode_message
"""Encodes headers and payload as a message of an event stream."""

Check = Callable[[str, str, Callable[[str], Any]], None]
"""Checks a service, an operation, and its parameters by name; raises a ServiceError to refuse it."""

_CHECK: ContextVar[Check | None] = ContextVar("check", default=None)


def application() -> DomainDispatcherApplication:
    """Return moto over WSGI: all of AWS, in all accounts and regions."""
    # Moto omits the account in events that it passes to a target unchanged.
    template = EventTemplateParser.DEFAULT_EVENT_INPUT_TEMPLATE
    if '"account"' not in template:
        with_account = template.replace('"region"', '"account": "<account>", "region"')
        EventTemplateParser.DEFAULT_EVENT_INPUT_TEMPLATE = with_account
    if "custom-model" not in ResourceShare.SHAREABLE_RESOURCES:
        ResourceShare.SHAREABLE_RESOURCES.append("custom-model")
    BaseResponse.call_action = _call_if_allowed  # type: ignore[method-assign,assignment]
    app = DomainDispatcherApplication(create_backend_app)
    # Without a signature, /sqs_us-east-1/key is an S3 object, not a path to SQS.
    app.get_service_from_path = lambda path_info: (None, None)  # type: ignore[method-assign]
    # It tries some hundred patterns for each request; its "host" is a service and a region.
    app.get_backend_for_host = lru_cache(maxsize=1024)(app.get_backend_for_host)  # type: ignore[method-assign]
    return app


def service_of(application: DomainDispatcherApplication, environ: dict[str, Any]) -> str | None:
    """Return the service of moto that would handle a request, S3 by default; None if moto cannot tell."""
    try:
        app: Any = application.get_application(environ)
        return str(app.service)
    except (AttributeError, LookupError, ValueError):
        return None
    finally:
        environ["wsgi.input"].seek(0)


@contextmanager
def checked_by(check: Check) -> Iterator[None]:
    """Check the requests to moto in this context first; moto knows how its service reports a refusal."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


_call_action = BaseResponse.call_action


def _call_if_allowed(response: BaseResponse) -> Any:
    try:
        if check := _CHECK.get():
            check(response.service_name or "", response._get_action() or "", response._get_param)
        return _call_action(response)
    except ServiceError as error:
        if error.code not in COMMON_ERROR_CODES:  # moto warns: no model has the errors of all services
            COMMON_ERROR_CODES.append(error.code)
        _, headers, body = response.serialized(ActionResult(error))
        return error.status, headers, body


def add_to_iam(operation: str, answer: Callable[[Callable[[str], Any]], dict[str, Any]]) -> None:
    """Add an operation that moto lacks to its IAM.

    :param answer: returns the operation's result, given a function that returns a parameter by its name, or None.
    """
    setattr(IamResponse, xform_name(operation), lambda response: ActionResult(answer(response._get_param)))


def work_group_of(query_execution_id: str, account: str, region: str) -> str:
    """Return the name of the Athena work group in which a query runs."""
    from moto.athena.models import athena_backends  # which few need

    query = athena_backends[account][region].executions.get(query_execution_id)
    return query.workgroup.name if query and query.workgroup else "primary"


def reset() -> None:
    """Empty all services, in all accounts and regions."""
    from moto.moto_api._internal.models import moto_api_backend

    moto_api_backend.reset()


def environ_of(method: str, path: str, query: str, headers: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """Return the WSGI environment of a request. It keeps the spelling of S3's metadata headers, which moto reads.

    Other headers with an underscore are left out, since they could pass for one with a dash.

    :param path: the path as sent, percent-encoded; ``RAW_URI`` keeps it.
    """
    environ: dict[str, Any] = {}
    spelt = {}
    for name, value in headers:
        key = environ_key_for_header(name)
        if should_preserve_original_header_name(name):
            spelt[key] = name
        elif "_" in name or key == "HTTP_TRANSFER_ENCODING":  # the body is whole
            continue
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return {
        **environ,
        PRESERVED_HEADER_NAMES_ENVIRON_KEY: spelt,
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path).encode().decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": f"{path}?{query}" if query else path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        # WSGI requires these; nothing reads them.
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }


_routing = Lock()


@cache
def _router(service: str) -> RestRouter:
    return RestRouter(service_model(service))


def operation_of(service: str, environ: dict[str, Any]) -> tuple[OperationModel, dict[str, str]] | None:
    """Return the operation of a service that a request is for, and the parameters in its path; None if no operation
    fits.
    """
    # Python 3.11 may fail where two threads make one at once: "AST constructor recursion depth mismatch".
    with _routing:
        router = _router(service)
    try:
        # The host matters only for services whose resources are part of it.
        return router.match(Request({**environ, "HTTP_HOST": "localhost"}))
    except (NotFound, ValueError):  # a path that cannot be part of a URL
        return None


def parse_rest_json(
    operation: OperationModel, request: RequestDict, timestamp_parser: Callable[[str], Any]
) -> dict[str, Any]:
    """Return an operation's parameters from a request, unchecked; raise if the body is not JSON."""
    parameters: dict[str, Any] = RestJSONParser(operation, timestamp_parser=timestamp_parser).parse(request)
    return parameters


def account_of(access_key: str) -> str:
    """Return the account of an access key: that of the assumed role, or else the only one."""
    account: str = get_account_id_from(access_key)
    return account


def is_shared(arn: str, account: str) -> bool:
    """Whether AWS RAM shares a resource with an account, by the account's number."""
    _, _, _, region, owner, _ = arn.split(":", 5)
    shares = ram_backends[owner][region].resource_shares
    return any(one.status == "ACTIVE" and arn in one.resource_arns and account in one.principals for one in shares)


def share_name(arn: str, account: str, region: str) -> str | None:
    """Return the name of a resource share; None if the account has no share with this ARN."""
    shares = ram_backends[account][region].resource_shares
    return next((one.name for one in shares if one.arn == arn), None)


def iam(account: str = ACCOUNT) -> IAMBackend:
    """Return the users, groups, roles and policies of an account."""
    return iam_backends[account]["aws"]


def role(arn: str, account: str = ACCOUNT) -> Any:
    """Return moto's own object for a role of an account, or None if it does not exist."""
    return next((one for one in iam(account).get_roles() if one.arn == arn), None)


def policies_of(*holders: Any) -> Iterator[tuple[str, Any]]:
    """Return the names and documents of the policies of users, groups and roles."""
    for holder in holders:
        for name, document in [*holder.policies.items()]:
            yield name, policy_document(document)
        for policy in [*holder.managed_policies.values()]:
            (version,) = [one for one in policy.versions if one.is_default]
            yield policy.name, policy_document(version.document)


def policy_document(document: Any) -> Any:
    """Return a policy as JSON. CloudFormation passes some as objects, and moto accepts any text for some."""
    try:
        return json.loads(document) if isinstance(document, str) else document
    except ValueError:
        return {"Statement": []}


def kms_key(identifier: str, account: str, region: str) -> Any:
    """Return moto's own object for a KMS key; None if there is no such key.

    :param identifier: its id, its ARN, an alias or the ARN of one; an ARN names another account, but no other region.
    """
    from moto.kms.models import kms_backends  # which few need

    *place, name = identifier.rsplit(":", 3)
    if place and place[1] != region:
        return None
    keys = kms_backends[place[2] if place else account][region].keys.values()
    return next((one for one in keys if name.removeprefix("key/") == one.id or name in one.aliases), None)


def assumed_roles() -> list[AssumedRole]:
    """Return the sessions of all assumed roles, in all accounts."""
    return [one for account in [*sts_backends.values()] for one in account["aws"].assumed_roles]


def s3_object(bucket: str, key: str, version: str | None = None) -> FakeKey | None:
    """Return an object, or None if it or its bucket does not exist."""
    try:
        return s3_backends[ACCOUNT]["aws"].get_object(bucket, key, version)
    except S3ClientError:
        return None


def s3_upload(bucket: str, upload_id: str) -> FakeMultipart | None:
    """Return a multipart upload that is in progress, or None if it or its bucket does not exist."""
    try:
        found: FakeMultipart | None = s3_backends[ACCOUNT]["aws"].get_bucket(bucket).multiparts.get(upload_id)
    except S3ClientError:
        return None
    return found


def send_s3_events_with(send: Callable[[str, Any, Any, Any], None]) -> None:
    """Send S3's events with this function of account, bucket, name and key instead of moto's own."""
    notifications._send_event_bridge_message = send  # type: ignore[assignment]  # its event is a string


def s3_event_kind(name: str) -> str:
    """Return EventBridge's name for an event that S3 calls, for example, ``s3:ObjectCreated:Put``."""
    return notifications._detail_type(name)


def put_on_default_bus(account: str, region: str, event: Any) -> None:
    """Send an event to the targets of every rule of the default bus that matches it."""
    for rule in events_backends[account][region].event_buses["default"].rules.values():
        if rule.state != "DISABLED":
            rule.send_to_targets(event, transform_input=False)


def lambda_function(arn: str) -> Any:
    """Return moto's own object for a Lambda function, which has its code; None if it does not exist."""
    from moto.awslambda.exceptions import UnknownFunctionException  # it loads much, which few need
    from moto.awslambda.models import lambda_backends

    parts = arn.split(":")
    try:
        return lambda_backends[parts[4]][parts[3]].get_function(arn)
    except (UnknownFunctionException, KeyError):
        return None


def run_functions_by(run: Callable[[Any, Any], tuple[str, bool, str]]) -> None:
    """Run Lambda functions with this function of moto's own object and the event, instead of with Docker.

    :param run: returns the response in JSON, whether the function failed, and its log.
    """
    from moto.awslambda.models import LambdaFunction  # it loads much, which few need

    LambdaFunction._invoke_lambda = run  # type: ignore[assignment,method-assign]  # Invoke always has an event
