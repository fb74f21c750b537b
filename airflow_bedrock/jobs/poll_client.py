"""The client of the poll loop, with its own threads, and the meaning of a poll's error.

A client takes time to create, and its objects take time in every full pass of the garbage collector, which blocks the
event loop: 31,000 objects for Bedrock's whole service model. So all kinds of resources share one client, and it loads
only the operations that polls call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from asgiref.sync import sync_to_async
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from botocore.loaders import JSONFileLoader, Loader

from airflow_bedrock.aws_errors import error_code, is_about_credentials, is_not_found, is_throttled, is_transient
from airflow_bedrock.decoding import decoder
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.planner import PAGE_SIZE, Call, GetJob, ListJobs, Trouble
from airflow_bedrock.jobs.resources import DecodePage, Resource, Seen, declared
from airflow_bedrock.shapes import data_file

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_bedrock import BedrockClient

CALLS_AT_ONCE = 4
CALL_SECONDS = 120.0
"""After this time a call has failed. Its thread may keep reading: botocore limits only the time without a byte."""

# One attempt per call: the planner polls again anyway, and must see throttling to slow all polls down.
_CLIENT_CONFIG = Config(
    retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=30, max_pool_connections=CALLS_AT_ONCE
)
_PARTS, _LIST = decoder(dict[str, msgspec.Raw]), decoder(list[msgspec.Raw])
_SERVICES = frozenset({"bedrock", "sts", "oidc", "portal.sso"})  # that of the polls, and those that provide credentials
_REFUSALS = frozenset({"AccessDenied", "AccessDeniedException", "ValidationException"})


class PollClient:
    """Makes the calls, in its own threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pool = ThreadPoolExecutor(max_workers=CALLS_AT_ONCE, thread_name_prefix="bedrock-poll")
        self._client: BedrockClient | None = None
        self._making = asyncio.Lock()

    async def send(self, resource: Resource, call: Call) -> Any:
        """Make the call. Return one resource for GetJob; for ListJobs, a page of them and the token of the next page.

        :raises TimeoutError: the response is not complete after two minutes.
        """
        try:
            async with asyncio.timeout(CALL_SECONDS) as limit:
                return await self._send(resource, call)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"no complete response within {CALL_SECONDS:g} s") from error
            raise

    async def _send(self, resource: Resource, call: Call) -> Any:
        async with self._making:
            if self._client is None:
                # Not run_in_executor: before Airflow 3.2, a hook finds its connection only from asgiref's threads.
                make = sync_to_async(poll_client, thread_sensitive=False, executor=self._pool)
                self._client = await make(self._connection)
        client = self._client
        function = partial(_get, resource, call) if isinstance(call, GetJob) else partial(_list, resource, call)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, client)
        except Exception as error:
            if is_about_credentials(error):
                self._client = None
            raise

    def close(self) -> None:
        """End the threads when the calls in flight have ended, and close the connections."""
        self._pool.shutdown(wait=False)
        if self._client is not None:
            self._client.close()


def poll_client(connection: Connection) -> BedrockClient:
    """Make a client that can get and list every kind of resource, and nothing else."""
    hook = _PollHook(**connection.hook_parameters())
    client = hook.get_client_type(region_name=hook.region_name, config=_CLIENT_CONFIG.merge(hook.config))
    for resource in declared():
        if resource.decode_page is not None:
            _read_pages_fast(client, resource.list_operation, resource.decode_page)
    return client


class _PollHook(BedrockHook):
    """A hook whose clients know only the operations that polls call."""

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> boto3.session.Session:
        session: boto3.session.Session = super().get_session(region_name, deferrable)
        core = session._session  # botocore's session: boto3's does not accept a loader
        paths = core.get_component("data_loader").search_paths
        loader = Loader([*paths], _PollFiles(), include_default_search_paths=False)
        core.register_component("data_loader", loader)
        return session


class _PollFiles(JSONFileLoader):
    """Reads botocore's files, and decodes of the two large ones only what polls need.

    In full, they are 28,000 objects: enough to trigger a full pass of the garbage collector, although they are freed.
    """

    def load_file(self, file_path: str) -> Any:
        service, _, name = Path(file_path).parts[-3:]
        if name == "endpoints" and (content := data_file(file_path)):
            return _endpoints(content)
        if (service, name) == ("bedrock", "service-2") and (content := data_file(file_path)):
            return _service_model(content)
        return super().load_file(file_path)


def _endpoints(content: bytes) -> dict[str, Any]:
    """Decode the endpoints of the services that are called."""
    partitions = [_PARTS.decode(partition) for partition in _LIST.decode(_PARTS.decode(content)["partitions"])]
    services = [_some(partition.pop("services"), _SERVICES) for partition in partitions]
    return {"partitions": [_all(one) | {"services": some} for one, some in zip(partitions, services, strict=True)]}


def _service_model(content: bytes) -> dict[str, Any]:
    """Decode a service model with the operations of polls and the shapes that they name."""
    operations = {name for one in declared() for name in (one.get_operation, one.list_operation)}
    parts = _PARTS.decode(content)
    all_shapes = _PARTS.decode(parts.pop("shapes"))
    kept = _some(parts.pop("operations"), operations)
    shapes: dict[str, Any] = {}
    remaining: list[Any] = [kept]
    while remaining:
        node = remaining.pop()
        if isinstance(node, list):
            remaining += node
        elif isinstance(node, dict):
            remaining += node.values()
            name = node.get("shape")
            if isinstance(name, str) and name not in shapes:
                shapes[name] = msgspec.json.decode(all_shapes[name])
                remaining.append(shapes[name])
    return {**_all(parts), "operations": kept, "shapes": shapes}


def _all(parts: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    return {name: msgspec.json.decode(part) for name, part in parts.items()}


def _some(mapping: msgspec.Raw, names: Collection[str]) -> dict[str, Any]:
    return _all({name: part for name, part in _PARTS.decode(mapping).items() if name in names})


def _get(resource: Resource, call: GetJob, client: BedrockClient) -> Seen:
    return resource.read(getattr(client, xform_name(resource.get_operation))(**{resource.identifier: call.identifier}))


def _list(resource: Resource, call: ListJobs, client: BedrockClient) -> tuple[list[Seen], str | None]:
    arguments: dict[str, Any] = {"maxResults": PAGE_SIZE, "sortBy": "CreationTime", "sortOrder": "Descending"}
    if call.created_after is not None:
        arguments[resource.created_after] = call.created_after
    if call.token is not None:
        arguments["nextToken"] = call.token
    if call.status is not None:
        arguments["statusEquals"] = call.status
    page: dict[str, Any] = getattr(client, xform_name(resource.list_operation))(**arguments)
    return page["seen"] if "seen" in page else resource.listed(page), page.get("nextToken")


def _read_pages_fast(client: BedrockClient, operation: str, decode_page: DecodePage) -> None:
    """Parse the successful responses of List instead of botocore; the member ``seen`` has the resources on the page.

    botocore parses a page that this cannot read: it takes a null for a missing member, and a number for a time.
    """

    def read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
        if response_dict["status_code"] == 200:
            try:
                seen, token = decode_page(response_dict["body"])
            except msgspec.DecodeError:
                return
            customized_response_dict.update(seen=seen, nextToken=token)
            response_dict["body"] = b"{}"

    client.meta.events.register(f"before-parse.bedrock.{operation}", read)


def trouble_of(error: Exception, call: Call) -> Trouble:
    """Classify the error of a poll. Unless it is clearly about the request, it is no response, and ends no wait."""
    if is_not_found(error):
        return Trouble.MISSING
    if is_throttled(error):
        return Trouble.THROTTLED
    if is_transient(error) or is_about_credentials(error):
        return Trouble.NO_ANSWER
    if isinstance(error, ParamValidationError):
        return Trouble.REFUSED
    # If List fails for any other reason, Get may still work.
    if isinstance(error, ClientError) and (isinstance(call, ListJobs) or error_code(error) in _REFUSALS):
        return Trouble.REFUSED
    return Trouble.NO_ANSWER
