"""Which S3 operation a request is for: S3 itself is moto's, but journal, faults and state need the operation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from airflow_bedrock.local import moto
from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.web.protocol import HttpResponse

_BUCKET = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
"""A bucket's name, old buckets included; it becomes the name of a folder."""

_HOST = re.compile(r"([a-z0-9.-]{3,63})\.(?:s3[.-].*|localhost)\.?(?::\d+)?")
"""A host that begins with the bucket's name ("virtual-hosted style")."""

_CODE = re.compile(rb'<Code>([^<]+)</Code>|"(?:__type|code)": ?"([^"]+)"')
"""The error code in a response in XML or JSON."""

_CODES = {
    "ThrottlingException": ("SlowDown", 503),
    "InternalServerException": ("InternalError", 500),
    "ServiceUnavailableException": ("ServiceUnavailable", 503),
    "ExpiredTokenException": ("ExpiredToken", 400),
    "AccessDeniedException": ("AccessDenied", 403),
    "MissingAuthenticationTokenException": ("AccessDenied", 403),
    "UnrecognizedClientException": ("InvalidAccessKeyId", 403),
    "SerializationException": ("InvalidURI", 400),
    "IncompleteSignatureException": ("AuthorizationHeaderMalformed", 400),
}
"""S3's codes and HTTP statuses for the codes of other services."""


@dataclass(frozen=True)
class S3Request:
    """The operation and the resource of a request to S3.

    :param operation: such as ``PutObject``; only the method for a request that S3 does not know.
    """

    operation: str
    bucket: str = ""
    key: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters in the request's address."""
        return {name: value for name, value in (("Bucket", self.bucket), ("Key", self.key)) if value}

    @property
    def changes(self) -> bool:
        """Whether the object under the key may differ afterwards or, without a key, the objects of the bucket, as after
        the POST of a form.
        """
        of_object = ("PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject")
        return self.operation in (*of_object, "CreateBucket", "DeleteBucket", "DeleteObjects", "POST")


def s3_request(environ: dict[str, Any]) -> S3Request:
    """Return what a request is about. Its path then names bucket and key, and its header the source of a copy.

    Moto reads hosts and that header differently, and would use another bucket.
    """
    path = unquote(environ["RAW_URI"].partition("?")[0].lstrip("/"))
    if matched := _HOST.fullmatch(environ.get("HTTP_HOST", "").lower()):
        path = f"{matched[1]}/{path}"
    bucket, _, key = path.partition("/")
    path = f"/{bucket}/{key}" if key else f"/{bucket}"
    query = environ["QUERY_STRING"]
    environ["HTTP_HOST"], environ["PATH_INFO"] = "localhost", path.encode().decode("latin-1")
    environ["RAW_URI"] = f"{quote(path)}?{query}" if query else quote(path)
    if source := environ.get("HTTP_X_AMZ_COPY_SOURCE"):
        source, mark, version = source.partition("?")
        environ["HTTP_X_AMZ_COPY_SOURCE"] = quote(f"/{unquote(source).lstrip('/')}") + mark + version
    found = moto.operation_of("s3", environ)
    return S3Request(found[0].name if found else environ["REQUEST_METHOD"], bucket, key)


def check_request(request: S3Request, query: str) -> None:
    """Check the names that become a folder, or a header of the response.

    :raises ServiceError: InvalidBucketName or InvalidArgument.
    """
    if request.bucket and not _BUCKET.fullmatch(request.bucket):
        raise ServiceError("InvalidBucketName", "The specified bucket is not valid.")
    headers = [value for name, value in parse_qsl(query) if name.startswith("response-")]
    if not all(value.isprintable() for value in headers):
        raise ServiceError("InvalidArgument", "A header of the response must not hold control characters.")


def respond_s3_error(error: ServiceError, status: int | None = None) -> HttpResponse:
    """Return the response for an injected error; S3 has its own codes for the errors that other services share.

    :param status: the HTTP status of the fault.
    """
    code, usual = _CODES.get(error.code, (error.code, error.status))
    body = f"<Error><Code>{escape(code)}</Code><Message>{escape(error.message)}</Message></Error>"
    return HttpResponse(status or usual, {"Content-Type": "application/xml"}, body.encode(), code)


def error_code(status: int, body: bytes) -> str | None:
    """Return the error code in a response of any protocol; without one, that of the status."""
    if status < 400:
        return None
    if found := _CODE.search(body[:4096]):
        return found[found.lastindex or 0].decode(errors="replace").rpartition("#")[2]
    return str(status)
