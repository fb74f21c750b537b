"""What moto's S3 lacks for objects: checksums that are verified and kept, and atomic conditional writes.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from xml.parsers.expat import ExpatError

import xmltodict  # type: ignore[import-untyped]  # moto's own; it comes without types

from airflow_bedrock.local.checksums import ALGORITHMS, checksum, digest
from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.moto import FakeKey, FakeMultipart, s3_object, s3_upload
from airflow_bedrock.local.web.protocol import HttpResponse
from airflow_bedrock.local.web.s3 import S3Request, respond_s3_error
from airflow_bedrock.local.web.s3_events import changing, install

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_HEADER = "HTTP_X_AMZ_CHECKSUM_"
_NOT_VALUES = {"ALGORITHM", "TYPE", "MODE"}
"""Headers that begin like a checksum's."""

_TYPES = {"CRC64NVME": ("FULL_OBJECT",), "CRC32": ("COMPOSITE", "FULL_OBJECT"), "CRC32C": ("COMPOSITE", "FULL_OBJECT")}
"""The types of multipart checksums, the default first; those of other algorithms are COMPOSITE."""

_CHANGES = ("PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject")

_CHECKSUMS_IN_XML = re.compile(rb"<Checksum(\w+)>[^<]*</Checksum\1>|<Checksum\w+ ?/>")

Ask = Callable[[], HttpResponse]


class Objects:
    """Handles requests before moto's S3 does."""

    def __init__(self) -> None:
        install()
        # A few locks for all objects: two writers of one object always use the same lock.
        self._locks = [threading.Lock() for _ in range(64)]
        self._answers: dict[str, Callable[[S3Request, WSGIEnvironment, Ask], HttpResponse]] = {
            "PutObject": _put,
            "CopyObject": _copy,
            "UploadPart": _upload_part,
            "CreateMultipartUpload": _begin_upload,
            "CompleteMultipartUpload": _complete_upload,
            "DeleteObject": _delete,
            "GetObject": _get,
            "HeadObject": _get,
            "GetObjectAttributes": _get_attributes,
        }

    def answer(self, request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
        """Handle a request.

        :param ask: passes the request to moto, with the environment at that time.
        """
        answer = self._answers.get(request.operation)
        if answer is None:
            return ask()
        lock = self._locks[hash((request.bucket, request.key)) % len(self._locks)]
        try:
            _unwrap(environ)
            # A read takes the lock too, so that its content and its checksum belong together.
            with lock, changing(request.operation) if request.operation in _CHANGES else nullcontext():
                return answer(request, environ, ask)
        except ServiceError as error:
            return respond_s3_error(error)


def _put(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    _check_conditions(environ, _find(request))
    algorithm = _check_content(environ, _body(environ)) or "CRC64NVME"
    response = ask()
    return _with_checksum(response, _keep(request, algorithm)) if response.status == 200 else response


def _copy(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    if environ.get(f"{_HEADER}ALGORITHM", "CRC32") not in ALGORITHMS:
        raise _not_implemented()
    _check_conditions(environ, _find(request))
    response = ask()
    if response.status != 200:
        return response
    copied = _find(request)
    algorithm = environ.get(f"{_HEADER}ALGORITHM") or (copied and copied.checksum_algorithm) or "CRC64NVME"
    return _with_checksum(response, _keep(request, algorithm), within=b"</CopyObjectResult>")


def _delete(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    _check_conditions(environ, _find(request))
    return ask()


def _get(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    response = ask()
    checksums: dict[str, str] = {}
    if response.status == 200 and environ.get(f"{_HEADER}MODE", "").upper() == "ENABLED":
        key = _find(request, _query(environ, "versionId"))
        checksums = {} if key is None or _query(environ, "partNumber") else _checksums_of(key)
    return _with_checksum(response, checksums)


def _get_attributes(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    if (key := _find(request, _query(environ, "versionId"))) is not None:
        _checksums_of(key)
    return ask()


def _begin_upload(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    algorithm, kind = environ.get(f"{_HEADER}ALGORITHM"), environ.get(f"{_HEADER}TYPE")
    if algorithm and algorithm not in ALGORITHMS:
        raise _not_implemented()
    if kind and not algorithm:
        raise _invalid("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
    if kind and kind not in _TYPES.get(algorithm or "", ("COMPOSITE",)):
        raise _invalid(f"The {kind} checksum type cannot be used with the {str(algorithm).lower()} checksum algorithm.")
    if algorithm:
        environ[f"{_HEADER}TYPE"] = kind or _usual_type(algorithm)
    return ask()


def _upload_part(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    body = _body(environ)
    given = _check_content(environ, body)
    upload = _upload(request, environ)
    wanted = upload.metadata.get("x-amz-checksum-algorithm") if upload else None
    if given and wanted and given != wanted:
        raise _invalid(
            f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, "
            f"actual checksum Type: {given.lower()}"
        )
    response = ask()
    algorithm = wanted or given or "CRC64NVME"
    return _with_checksum(response, {algorithm: checksum(algorithm, body)}) if response.status == 200 else response


def _complete_upload(request: S3Request, environ: WSGIEnvironment, ask: Ask) -> HttpResponse:
    existing, upload = _find(request), _upload(request, environ)
    if upload is None:
        # Completed before, or never begun: moto distinguishes the two.
        response = ask()
        checksums = _checksums_of(existing) if existing and response.status == 200 else {}
        return _with_checksum(response, checksums, within=_COMPLETED)
    _check_conditions(environ, existing)
    algorithm = upload.metadata.get("x-amz-checksum-algorithm") or "CRC64NVME"
    kind = upload.metadata.get("x-amz-checksum-type") or _usual_type(algorithm)
    if environ.get(f"{_HEADER}TYPE", kind) != kind:
        raise _invalid(
            f"The upload was created using the {kind} checksum mode. "
            "The complete request must use the same checksum mode."
        )
    parts = _parts(upload, _body(environ))
    value = _of_parts(algorithm, kind, parts)
    if kind == "FULL_OBJECT":
        _check_content(environ, b"".join(parts))
    response = ask()
    key = _find(request)
    if response.status != 200 or key is None:
        return response
    _set(key, algorithm, value, kind, len(parts))
    return _with_checksum(response, _checksums_of(key), within=_COMPLETED)


_COMPLETED = b"</CompleteMultipartUploadResult>"


def _parts(upload: FakeMultipart, body: bytes) -> list[bytes]:
    """Return the parts that a request to complete an upload names; moto reports missing ones."""
    try:
        document = xmltodict.parse(body, force_list=("Part",), strip_whitespace=True)
        listed = document["CompleteMultipartUpload"]["Part"]
    except (ExpatError, KeyError, TypeError):
        listed = []
    if not (listed and all(isinstance(one, dict) and str(one.get("PartNumber")).isdecimal() for one in listed)):
        message = "The XML you provided was not well-formed or did not validate against our published schema"
        raise ServiceError("MalformedXML", message)
    found = []
    by_number = {str(number): part for number, part in upload.parts.items()}
    for members in listed:
        part = by_number.get(members["PartNumber"])
        if part is None:
            continue
        content = _value(part)
        for algorithm in ALGORITHMS & {name.removeprefix("Checksum") for name in members}:
            if members[f"Checksum{algorithm}"] != checksum(algorithm, content):
                raise ServiceError(
                    "InvalidPart",
                    "One or more of the specified parts could not be found. The part may not have been uploaded, "
                    "or the specified entity tag may not match the part's entity tag.",
                )
        found.append(content)
    return found


def _of_parts(algorithm: str, kind: str, parts: list[bytes]) -> str:
    if kind == "FULL_OBJECT":
        return checksum(algorithm, b"".join(parts))
    return checksum(algorithm, b"".join(digest(algorithm, part) for part in parts))


def _usual_type(algorithm: str) -> str:
    return _TYPES.get(algorithm, ("COMPOSITE",))[0]


def _keep(request: S3Request, algorithm: str) -> dict[str, str]:
    """Keep the checksum of a new object, and return what the response says about it."""
    key = _find(request)
    if key is None:  # moto's lifecycle rules have deleted it
        return {}
    _set(key, algorithm, checksum(algorithm, _value(key)), "FULL_OBJECT", 1)
    return _checksums_of(key)


def _set(key: FakeKey, algorithm: str, value: str, kind: str, parts: int) -> None:
    key.checksum_value, key.checksum_type, key.checksum_parts = value, kind, parts
    key.checksum_algorithm = algorithm


def _checksums_of(key: FakeKey) -> dict[str, str]:
    """Return the headers for an object's checksum; an object without one gets one now."""
    if key.checksum_type is None or key.checksum_value is None or key.checksum_algorithm is None:
        _set(key, "CRC64NVME", checksum("CRC64NVME", _value(key)), "FULL_OBJECT", 1)
    parts = f"-{key.checksum_parts}" if key.checksum_type == "COMPOSITE" else ""
    return {str(key.checksum_algorithm): f"{key.checksum_value}{parts}", "Type": str(key.checksum_type)}


def _with_checksum(response: HttpResponse, checksums: dict[str, str], *, within: bytes = b"") -> HttpResponse:
    """Return a response that states this checksum, and nothing else about checksums.

    :param within: the end of the XML element that states it, if headers do not.
    """
    headers = {
        name: value
        for name, value in response.headers.items()
        if name.lower() != "checksum" and not name.lower().startswith("x-amz-checksum-")
    }
    if not within:
        return replace(
            response, headers=headers | {f"x-amz-checksum-{name.lower()}": checksums[name] for name in checksums}
        )
    elements = "".join(f"<Checksum{name}>{value}</Checksum{name}>" for name, value in checksums.items()).encode()
    body = _CHECKSUMS_IN_XML.sub(b"", response.body).replace(within, elements + within)
    headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
    return replace(response, headers=headers, body=body)


def _check_conditions(environ: WSGIEnvironment, key: FakeKey | None) -> None:
    matching, not_matching = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
    if not_matching not in (None, "*"):
        raise _not_implemented()
    if matching and key is None:
        raise ServiceError("NoSuchKey", "The specified key does not exist.", status=404)
    if (key and not_matching) or (key and matching and matching.strip('"') not in ("*", key.etag.strip('"'))):
        message = "At least one of the pre-conditions you specified did not hold"
        raise ServiceError("PreconditionFailed", message, status=412)


def _check_content(environ: WSGIEnvironment, body: bytes) -> str | None:
    """Check the content against what the client states about it, and return the algorithm of its checksum.

    :raises ServiceError: the content differs.
    """
    given = {
        name.removeprefix(_HEADER): value
        for name, value in environ.items()
        if name.startswith(_HEADER) and name.removeprefix(_HEADER) not in _NOT_VALUES
    }
    if len(given) > 1:
        raise _invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    for algorithm, value in given.items():
        if algorithm not in ALGORITHMS:
            raise _not_implemented()
        expected = digest(algorithm, body)
        if (found := _decode(value)) is None or len(found) != len(expected):
            raise _invalid(f"Value for x-amz-checksum-{algorithm.lower()} header is invalid.")
        if found != expected:
            raise ServiceError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
    if (md5 := environ.get("HTTP_CONTENT_MD5")) and _decode(md5) != digest("MD5", body):
        raise ServiceError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    return next(iter(given), None)


def _unwrap(environ: WSGIEnvironment) -> None:
    """Decode the chunks of SigV4, and make headers of the trailers behind them."""
    if not environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING-"):
        return
    stream, content = io.BytesIO(_body(environ)), bytearray()
    try:
        while size := int(stream.readline().partition(b";")[0], 16):
            content += stream.read(size)
            stream.readline()
        complete = len(content) == int(environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", len(content)))
    except ValueError as error:
        raise _incomplete() from error
    if not complete:
        raise _incomplete()
    for line in stream.read().decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.lower().startswith("x-amz-checksum-"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value.strip()
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(bytes(content)), str(len(content))
    environ["HTTP_X_AMZ_CONTENT_SHA256"] = "UNSIGNED-PAYLOAD"
    encodings = [one.strip() for one in environ.pop("HTTP_CONTENT_ENCODING", "").split(",")]
    if kept := [one for one in encodings if one not in ("", "aws-chunked")]:
        environ["HTTP_CONTENT_ENCODING"] = ",".join(kept)


def _body(environ: WSGIEnvironment) -> bytes:
    body: bytes = environ["wsgi.input"].read()
    environ["wsgi.input"].seek(0)
    return body


def _find(request: S3Request, version: str | None = None) -> FakeKey | None:
    return s3_object(request.bucket, request.key, version)


def _upload(request: S3Request, environ: WSGIEnvironment) -> FakeMultipart | None:
    return s3_upload(request.bucket, _query(environ, "uploadId") or "")


def _value(key: FakeKey) -> bytes:
    value: Any = key.value
    return bytes(value)


def _query(environ: WSGIEnvironment, name: str) -> str | None:
    return dict(parse_qsl(environ["QUERY_STRING"])).get(name)


def _decode(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return None


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidRequest", message)


def _incomplete() -> ServiceError:
    return ServiceError(
        "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header."
    )


def _not_implemented() -> ServiceError:
    message = "A header you provided implies functionality that is not implemented"
    return ServiceError("NotImplemented", message, status=501)
