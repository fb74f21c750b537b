"""The WSGI application: Bedrock's requests to us, ``/_local`` to the admin API, every other AWS service to moto."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.datastructures import EnvironHeaders, MultiDict

from airflow_bedrock.local.api import handler
from airflow_bedrock.local.errors import ServiceError, not_built
from airflow_bedrock.local.settings import ACCOUNT
from airflow_bedrock.local.state.bedrock import World
from airflow_bedrock.local.web.admin import administer
from airflow_bedrock.local.web.journal import Call, Journal
from airflow_bedrock.local.web.protocol import HttpRequest, HttpResponse, Router, parse, respond, respond_error

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

INTERNAL = "airflow-bedrock-local-internal"
"""In the user agent of calls that Local Bedrock makes to itself; they stay out of the journal."""

_PRIVATE = {"messages", "system", "body", "promptVariables", "requestMetadata", "toolConfig"}
"""Parameters that hold what people ask models; they stay out of the journal."""

_OWN_FAULT = ServiceError("InternalServerException", "An error of Local Bedrock's own; its log has more.", status=500)


class Application:
    """Local Bedrock over WSGI.

    :param world: Bedrock's state.
    :param journal: where calls are written down.
    """

    def __init__(self, world: World, journal: Journal) -> None:
        self._world = world
        self._journal = journal
        self._router = Router()
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = _path(environ)
        service, region = _signed_for(environ, self._world.settings.region)
        if path.startswith("/_local/"):
            return _send(administer(path, self._world, self._journal), start_response)
        if service == "bedrock":
            return _send(self._bedrock(environ, path, region), start_response)
        return self._pass_on(environ, start_response, service, region)

    def _bedrock(self, environ: WSGIEnvironment, path: str, region: str) -> HttpResponse:
        request = HttpRequest(
            method=environ["REQUEST_METHOD"],
            path=path,
            query=MultiDict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)),
            headers=EnvironHeaders(environ),
            body=environ["wsgi.input"].read(),
        )
        operation, parameters = None, {}
        try:
            operation, labels = self._router.match(request.method, request.path)
            parameters = parse(operation, request, labels)
            run = handler(operation.name)
            if run is None:
                raise not_built(f"the operation {operation.name}")
            response = respond(operation, run(self._world.bedrock(ACCOUNT, region), parameters))
        except ServiceError as error:
            response = respond_error(error, operation)
        except Exception:
            log.exception("Local Bedrock: %s %s failed for a reason of Local Bedrock's own", request.method, path)
            response = respond_error(_OWN_FAULT, operation)
        self._note(
            environ,
            service=operation.service_model.service_name if operation else "bedrock",
            operation=operation.name if operation else f"{request.method} {path}",
            status=response.status,
            region=region,
            parameters={name: value for name, value in parameters.items() if name not in _PRIVATE},
            error=response.error,
        )
        return response

    def _pass_on(
        self, environ: WSGIEnvironment, start_response: StartResponse, service: str, region: str
    ) -> Iterable[bytes]:
        operation = _operation_of(environ)

        def noting(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
            self._note(environ, service=service, operation=operation, status=int(status[:3]), region=region)
            return start_response(status, headers, *more)

        try:
            # To the end, so that what fails on the way is seen here.
            return list(self._moto(environ, noting))
        except NotImplementedError as error:  # what moto raises for an operation that it does not have
            log.warning("Local Bedrock: moto does not have %s of %s: %s", operation, service, error)
            return _fail(HTTPStatus.NOT_IMPLEMENTED, noting)
        except Exception:
            log.exception("Local Bedrock: moto failed in %s of %s", operation, service)
            return _fail(HTTPStatus.INTERNAL_SERVER_ERROR, noting)

    def _note(self, environ: WSGIEnvironment, **details: Any) -> None:
        if INTERNAL not in environ.get("HTTP_USER_AGENT", ""):
            self._journal.add(Call(time=self._world.clock.now(), **details))


def _signed_for(environ: WSGIEnvironment, default_region: str) -> tuple[str, str]:
    """Return the service and the region that the request is signed for (SigV4 header or presigned URL)."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    if authorization.startswith("Bearer "):
        return "bedrock", default_region  # an Amazon Bedrock API key; no other service here takes one
    if "Credential=" in authorization:
        credential = authorization.partition("Credential=")[2].partition(",")[0]
    else:
        credential = parse_qs(environ.get("QUERY_STRING", "")).get("X-Amz-Credential", [""])[0]
    scope = credential.split("/")
    return (scope[3], scope[2]) if len(scope) == 5 else ("", default_region)


def _path(environ: WSGIEnvironment) -> str:
    """Return the path as it was sent, percent-encoded."""
    path: str = urlsplit(environ["RAW_URI"]).path
    return path


def _operation_of(environ: WSGIEnvironment) -> str:
    """Return what the request itself tells of its operation: a target, an action, or method and path."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].seek(0)
        if action := parse_qs(body.decode(errors="replace")).get("Action"):
            return str(action[0])
    method: str = environ["REQUEST_METHOD"]
    return f"{method} {unquote(_path(environ))}"


def _fail(status: HTTPStatus, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer without a body: whatever protocol the client speaks, it makes an error of the status."""
    start_response(f"{status.value} {status.phrase}", [])
    return []


def _send(response: HttpResponse, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{response.status} {HTTPStatus(response.status).phrase}", list(response.headers.items()))
    return [response.body]
