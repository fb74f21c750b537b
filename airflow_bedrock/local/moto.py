"""What Local Bedrock has of moto beside its answers over WSGI: the headers it wants, what no API gives, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    environ_key_for_header,
    should_preserve_original_header_name,
)
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def application() -> WSGIApplication:
    """Return moto over WSGI: all of AWS, in all accounts and regions."""
    app: WSGIApplication = DomainDispatcherApplication(create_backend_app)
    return app


def environ_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return a request's headers as moto wants them in the WSGI environment: metadata of S3 keeps its underscores."""
    kept = {environ_key_for_header(name): name for name in headers if should_preserve_original_header_name(name)}
    values = {environ_key_for_header(name): value for name, value in headers.items()}
    return {**values, PRESERVED_HEADER_NAMES_ENVIRON_KEY: kept}


def lambda_function(arn: str) -> Any:
    """Return moto's own object for a Lambda function, with the code that no API gives away, or None."""
    from moto.awslambda.exceptions import UnknownFunctionException  # it loads much, which few need
    from moto.awslambda.models import lambda_backends

    parts = arn.split(":")
    try:
        return lambda_backends[parts[4]][parts[3]].get_function(arn)
    except (UnknownFunctionException, KeyError):
        return None


def reset() -> None:
    """Empty all services, in all accounts and regions."""
    from moto.moto_api._internal.models import moto_api_backend

    moto_api_backend.reset()
