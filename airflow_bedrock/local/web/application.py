"""The WSGI application: it passes requests to our operations, to the admin API (``/_local``), or to moto."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request

from airflow_bedrock.local import moto
from airflow_bedrock.local.api import handler
from airflow_bedrock.local.errors import ServiceError, not_found, unsupported
from airflow_bedrock.local.faults import Drop, Error, Plan
from airflow_bedrock.local.moto import OperationModel
from airflow_bedrock.local.settings import KEY
from airflow_bedrock.local.state.bedrock import World
from airflow_bedrock.local.web.admin import Admin
from airflow_bedrock.local.web.authorization import OTHERS, check_bedrock, check_other, check_s3
from airflow_bedrock.local.web.callers import Caller, caller_of
from airflow_bedrock.local.web.inside import INSIDE
from airflow_bedrock.local.web.journal import Journal
from airflow_bedrock.local.web.policy_simulator import SIMULATIONS, simulate
from airflow_bedrock.local.web.protocol import HttpResponse, operation_of, parse, respond, respond_error
from airflow_bedrock.local.web.reading import Signature, readable, serialization, signature_of
from airflow_bedrock.local.web.s3 import check_request, error_code, respond_s3_error, s3_request
from airflow_bedrock.local.web.s3_objects import Objects
from airflow_bedrock.local.web.server import Dropped
from airflow_bedrock.local.work.grader import invoke

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

_RUNTIME_PARAMETERS = {
    "modelId",
    "requestMetadata",
    "inferenceConfig",
    "guardrailIdentifier",
    "guardrailVersion",
    "contentType",
    "accept",
}
"""The parameters of calls to the runtime that the journal records; the others hold people's questions."""

_OWN_FAULT = ServiceError("InternalServerException", "Internal server error: see Local Bedrock's log.", status=500)

_CODES = {400: "ValidationException", 403: "AccessDeniedException", 404: "ResourceNotFoundException"} | {
    409: "ConflictException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
"""The code of a fault that has only a status."""


@dataclass
class _Visit:
    """One request, and what the journal records about it."""

    environ: WSGIEnvironment
    path: str
    signed: Signature
    service: str
    region: str
    operation: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def account(self) -> str:
        return moto.account_of(self.signed.key)

    @property
    def method(self) -> str:
        method: str = self.environ["REQUEST_METHOD"]
        return method


class Application:
    """Local Bedrock over WSGI.

    :param world: Bedrock's state.
    :param journal: records the calls.
    """

    def __init__(self, world: World, journal: Journal) -> None:
        self._world = world
        self._journal = journal
        self._admin = Admin(world, journal)
        self._objects = Objects()
        self._moto = moto.application()
        for operation in SIMULATIONS:
            moto.add_to_iam(operation, simulate)
        if world.settings.allow_graders:
            moto.run_functions_by(invoke)
        self._closing = threading.Event()

    def close(self) -> None:
        """Send delayed responses at once."""
        self._closing.set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request.

        :raises Dropped: the connection is to be closed without a response.
        """
        path = environ["RAW_URI"].partition("?")[0]
        try:
            signed = signature_of(environ)
        except ServiceError as error:
            return _send(self._refused(environ, error), start_response)
        visit = _Visit(environ, path, signed, signed.service, signed.region or self._world.settings.region)
        if not readable(environ["RAW_URI"]):
            response = self._refused(environ, serialization("The request's path or query cannot be decoded."))
        elif path.startswith("/_local/"):
            response = self._admin.answer(visit.method, path, environ["QUERY_STRING"], environ["wsgi.input"].read())
        elif visit.service == "bedrock":
            response = self._bedrock(visit)
        elif visit.service == "s3" or (answering := moto.service_of(self._moto, environ)) == "s3":
            visit.service = "s3"
            response = self._s3(visit)
        elif answering is None:
            unknown = ServiceError("UnknownOperationException", "There is no service for this request.", status=404)
            response = self._refused(environ, unknown)
        else:
            response = self._other(visit)
        return _send(response, start_response)

    def _refused(self, environ: WSGIEnvironment, error: ServiceError) -> HttpResponse:
        """Return the error for a request that cannot be read, in the form of its path's service."""
        try:
            operation_of(environ)
        except ServiceError:
            return respond_s3_error(error)
        return respond_error(error)

    def _bedrock(self, visit: _Visit) -> HttpResponse:
        operation: OperationModel | None = None
        visit.operation = f"{visit.method} {visit.path}"
        try:
            operation, labels = operation_of(visit.environ)
            visit.service, visit.operation = operation.service_model.service_name, operation.name
            parameters = parse(operation, Request(visit.environ), labels)
        except Exception as error:
            refused = _as_service_error(error, visit.operation)
            refuse = partial(respond_error, operation=operation)
            return self._answer(visit, lambda _: refuse(refused), refuse)
        visit.parameters = _public(visit.service, parameters)
        run = partial(self._run, operation, visit, parameters)
        return self._answer(visit, run, partial(respond_error, operation=operation))

    def _run(self, operation: OperationModel, visit: _Visit, parameters: dict[str, Any], plan: Plan) -> HttpResponse:
        try:
            run = handler(operation.name)
            if run is None:
                raise unsupported(f"the operation {operation.name}")
            bedrock = self._world.bedrock(visit.account, visit.region)
            if caller := self._caller(visit):
                check_bedrock(caller, bedrock, operation.name, parameters)
            with self._world.lock if operation.name.startswith(("Get", "List")) else nullcontext():
                result = run(bedrock, parameters)
            if plan.age and isinstance(result, dict):
                result = _without_new(operation, result, self._world.clock.time() - plan.age)
            response = respond(operation, result)
        except Exception as error:
            response = respond_error(_as_service_error(error, operation.name), operation=operation)
        self._world.persistence.write(everything=visit.service == "bedrock" and visit.method != "GET")
        return response

    def _s3(self, visit: _Visit) -> HttpResponse:
        environ = visit.environ
        request = s3_request(environ)
        visit.operation, visit.parameters = request.operation, request.parameters

        def execute(_: Plan) -> HttpResponse:
            try:
                check_request(request, environ["QUERY_STRING"])
                if caller := self._caller(visit):
                    check_s3(caller, request, visit.region, environ)
            except ServiceError as error:
                return respond_s3_error(error)
            response = self._objects.answer(request, environ, lambda: self._ask_moto(visit))
            if response.status < 300 and request.changes:
                self._world.persistence.write_objects(request.bucket, request.key)
            return response

        return self._answer(visit, execute, respond_s3_error)

    def _caller(self, visit: _Visit) -> Caller | None:
        """Return the caller; None for the root user, who is allowed everything.

        :raises ServiceError: IAM does not know the caller.
        """
        return caller_of(visit.signed.key, visit.signed.token, KEY) if self._world.settings.enforce_iam else None

    def _other(self, visit: _Visit) -> HttpResponse:
        visit.operation = _operation_of(visit)

        def execute(_: Plan) -> HttpResponse:
            with moto.checked_by(partial(self._check_other, visit)):
                response = self._ask_moto(visit)
            if (
                visit.service == "iam"
                and response.status < 300
                and not visit.operation.startswith(("Get", "List", "Simulate"))
            ):
                self._world.persistence.write_roles()
            return response

        return self._answer(visit, execute, respond_s3_error)

    def _check_other(self, visit: _Visit, service: str, operation: str, parameter: Callable[[str], Any]) -> None:
        if service in OTHERS and (caller := self._caller(visit)):
            check_other(caller, service, operation, parameter, visit.region, visit.account)

    def _answer(
        self,
        visit: _Visit,
        execute: Callable[[Plan], HttpResponse],
        refuse: Callable[[ServiceError, int | None], HttpResponse],
    ) -> HttpResponse:
        """Execute a call, unless a fault prevents it, and record it."""
        if INSIDE in visit.environ:  # Local Bedrock's own call; neither journal nor faults apply to it
            return execute(Plan())
        plan = self._world.faults.plan(visit.service, visit.operation)
        if plan.delay:
            self._closing.wait(min(plan.delay, threading.TIMEOUT_MAX))
        fault = plan.answer
        response = execute(plan) if fault is None or fault.executed else None
        if fault is not None:
            response = None if isinstance(fault, Drop) else refuse(_error_of(fault), fault.status)
        self._journal.add(
            time=self._world.clock.now(),
            service=visit.service,
            operation=visit.operation,
            status=response.status if response else 0,
            region=visit.region,
            parameters=visit.parameters,
            error=response.error if response else None,
            fault=", ".join(plan.effects) or None,
        )
        if response is None:
            raise Dropped
        return response

    def _ask_moto(self, visit: _Visit) -> HttpResponse:
        try:
            # Read to the end, so that errors on the way are raised here.
            chunks, status, headers = run_wsgi_app(self._moto, visit.environ, buffered=True)
        except NotImplementedError as error:  # raised by moto for an operation that it does not have
            log.warning("Local Bedrock: moto does not have %s of %s: %s", visit.operation, visit.service, error)
            return _bodiless(HTTPStatus.NOT_IMPLEMENTED)
        except Exception:
            log.exception("Local Bedrock: moto failed in %s of %s", visit.operation, visit.service)
            return _bodiless(HTTPStatus.INTERNAL_SERVER_ERROR)
        body, number = b"".join(chunks), int(status[:3])
        return HttpResponse(number, dict(headers.to_wsgi_list()), body, error_code(number, body))


def _send(response: HttpResponse, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{response.status} {responses.get(response.status, 'Error')}", list(response.headers.items()))
    return [response.body]


def _error_of(fault: Error) -> ServiceError:
    status = fault.status or 400
    code = fault.code or _CODES.get(status, "InternalServerException" if status >= 500 else "ValidationException")
    return ServiceError(code, fault.message or "An injected fault of Local Bedrock.", _STATUSES.get(code, status))


_STATUSES = {"ExpiredTokenException": 403, **{code: status for status, code in _CODES.items()}}
"""The statuses of errors that any operation may return, whatever the service model declares."""


def _public(service: str, parameters: dict[str, Any]) -> dict[str, Any]:
    if service == "bedrock":
        return parameters
    return {name: value for name, value in parameters.items() if name in _RUNTIME_PARAMETERS}


def _as_service_error(error: Exception, operation: str) -> ServiceError:
    """Return the response to an error, and log an internal one. For an ``except`` clause."""
    if isinstance(error, ServiceError):
        return error
    log.exception("Local Bedrock: %s failed because of an internal error", operation)
    return _OWN_FAULT


def _operation_of(visit: _Visit) -> str:
    """Return the operation according to the request itself: a target, an action, or method and path."""
    environ = visit.environ
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].seek(0)
        if action := parse_qs(body.decode(errors="replace")).get("Action"):
            return str(action[0])
    return f"{visit.method} {unquote(visit.path)}"


def _bodiless(status: HTTPStatus) -> HttpResponse:
    """Respond without a body: clients of every protocol turn the status into an error."""
    return HttpResponse(status.value, {}, b"", status.phrase.replace(" ", ""))


def _without_new(operation: OperationModel, result: Mapping[str, Any], since: float) -> dict[str, Any]:
    """Return the result of an operation without resources created after a moment: eventual consistency on demand.

    :param since: seconds since the epoch.
    :raises ServiceError: ResourceNotFoundException, if the result is about one resource, and that is new.
    """
    if _is_new(result, since):
        raise not_found(f"{operation.name} found nothing: a fault hides the resource.")
    return {
        name: [item for item in value if not _is_new(item, since)] if isinstance(value, list) else value
        for name, value in result.items()
    }


def _is_new(resource: Any, since: float) -> bool:
    if not isinstance(resource, Mapping):
        return False
    created = next((resource[name] for name in _CREATED if name in resource), None)
    return isinstance(created, datetime) and created.timestamp() > since


_CREATED = ("creationTime", "createdAt", "submitTime")
