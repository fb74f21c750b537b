"""Rejects requests from web pages of other origins before they reach the application.

Local Bedrock requires no credentials and may run code from its clients, and any page that a developer opens can make
the browser send requests to the loopback interface. Two checks come before every route, moto's included:

- **Host** must name this service. A page whose own name resolves to this address (DNS rebinding) sends that name.
- **Origin and Sec-Fetch-Site** must be this service's own. Programs send neither, and a page cannot omit them.

A page in a bucket would have this service's origin when a person opens it; a response header takes it away.

https://developer.mozilla.org/en-US/docs/Glossary/Fetch_metadata_request_header
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.web.protocol import respond_error

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(:[0-9]{1,5})?", re.IGNORECASE)
"""A name or an address, the dot of the DNS root, a port; two hosts joined by a comma do not match."""


class Guard:
    """Responds with 403 to requests that a web page of another origin may have sent, and passes on all others.

    :param application: the application behind it.
    :param host: the address that the service listens on; with a wildcard, any address is accepted, since a page cannot
        redirect an address to another computer.
    :param names: other names of the service, such as that of a container.
    """

    def __init__(self, application: WSGIApplication, host: str, names: Collection[str] = ()) -> None:
        self._application = application
        self._names = {name.lower().rstrip(".") for name in (host, *names)}
        address = address_of(host)
        self._any_address = address.is_unspecified if address else not host

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        host = environ.get("HTTP_HOST", "")
        if not self._is_ours(host):
            return _refuse(
                f"This service is not {host!r}. Use a loopback address, or name the host with --allow-host.",
                start_response,
            )
        if _is_foreign(environ) and not _only_shows(environ):
            return _refuse("A web page of another origin must not use Local Bedrock.", start_response)
        if environ["PATH_INFO"].startswith("/moto-api/recorder"):  # a link from outside a browser is not foreign
            return _refuse("moto's recorder, which writes requests to a file, is not available.", start_response)
        if "HTTP_SEC_FETCH_DEST" in environ and not environ["RAW_URI"].startswith(("/_local/", "/moto-api/")):
            # A page from a bucket must not have this origin when a person opens it.
            start_response = partial(_in_sandbox, start_response)
        return self._application(environ, start_response)

    def _is_ours(self, host: str) -> bool:
        if not (matched := _HOST.fullmatch(host)):
            return False
        name = matched[1].lower().strip("[]")
        if name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True  # <bucket>.localhost is a bucket of S3
        address = address_of(name)
        return address is not None and (self._any_address or address.is_loopback)


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address in a host; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_foreign(environ: WSGIEnvironment) -> bool:
    """Whether a page of another origin sent it, or a browser that does not name the page."""
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is None and origin is None:
        # With a GET, old browsers send neither, and others send neither to an address that they do not trust.
        return bool(environ.get("HTTP_USER_AGENT", "").startswith("Mozilla/"))
    own = environ["HTTP_HOST"].lower()
    foreign_origin = origin is not None and origin.lower() not in (f"http://{own}", f"https://{own}")
    return foreign_origin or site not in (None, "none", "same-origin")


def _only_shows(environ: WSGIEnvironment) -> bool:
    """Whether a person opens one of the admin API's pages in a window; these pages change nothing."""
    opened = environ.get("HTTP_SEC_FETCH_MODE", "navigate"), environ.get("HTTP_SEC_FETCH_DEST", "document")
    return (
        environ["REQUEST_METHOD"] == "GET"
        and environ["RAW_URI"].startswith("/_local/")
        and opened == ("navigate", "document")
        and "HTTP_ORIGIN" not in environ
    )


def _in_sandbox(start_response: StartResponse, status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
    return start_response(status, [*headers, ("Content-Security-Policy", "sandbox")], *more)


def _refuse(message: str, start_response: StartResponse) -> Iterable[bytes]:
    log.warning("Local Bedrock: refused a request. %s", message)
    response = respond_error(ServiceError("AccessDeniedException", message, status=403))
    start_response("403 Forbidden", list(response.headers.items()))
    return [response.body]
