"""Bedrock's operations on one kind of resource, over one connection: all calls of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from botocore import xform_name
from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import UnreadableResponseError, is_about_credentials, is_not_found, is_transient
from airflow_bedrock.customization.console import local_page
from airflow_bedrock.customization.job import Job, Seen
from airflow_bedrock.customization.tags import token_in
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.resources import Resource


@dataclass(frozen=True)
class Service:
    """The operations of a declared resource. Each method raises botocore's ClientError or BotoCoreError.

    A resource that is identified by its ARN is found in the ARN's region, even if the connection now has another one.

    :param resource: the kind of resource.
    :param hook: the hook for the calls.
    """

    resource: Resource
    hook: BedrockHook

    def get(self, identifier: str) -> Seen | None:
        """Read one by its ARN, or by its name if Get accepts names; None if it does not exist."""
        resource = self.resource
        try:
            found = resource.read(self._call(resource.get_operation, {resource.identifier: identifier}))
        except ClientError as error:
            if is_not_found(error):
                return None
            raise
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise UnreadableResponseError(operation=resource.get_operation, error=f"no {resource.kind}") from error
        if isinstance(found, Job) and (page := local_page(self.hook.conn.meta.endpoint_url, found.arn)):
            return msgspec.structs.replace(found, local_page=page)
        return found

    def find(self, name: str) -> Seen | None:
        """Read one by its name or ARN, with its token; None if it does not exist."""
        if not self.resource.by_name and not name.startswith("arn:"):
            listed = next((seen for seen in self.list_all(name) if seen.name == name), None)
            return listed and self.find(listed.arn)
        found = self.get(name)
        if found is None or found.token or self.resource.token_shows:
            return found
        return replace(found, token=token_in(self.tags_of(found.arn)))

    def list_all(self, name_contains: str = "", status: str = "", **more: Any) -> list[Seen]:
        """Return all whose names contain the text, newest first; without their tokens.

        :param more: further members of List's request.
        """
        filters = {self.resource.name_contains: name_contains, self.resource.status_filter: status, **more}
        pages = self.hook.conn.get_paginator(xform_name(self.resource.list_operation)).paginate(  # type: ignore[call-overload]  # any of the service's
            **{name: value for name, value in filters.items() if value},
            sortBy="CreationTime",
            sortOrder="Descending",
            PaginationConfig={"PageSize": 1000},
        )
        return [seen for page in pages for seen in self.resource.listed(page)]

    def list_running(self) -> list[Seen]:
        """Return all that can be stopped, each once, even if statuses change between the Lists."""
        found = [seen for status in self.resource.running for seen in self.list_all(status=status)]
        return list({seen.arn: seen for seen in found}.values())

    def create(self, request: Mapping[str, Any]) -> str | None:
        """Create one, and return its ARN; None if the response has none."""
        response = self._call(self.resource.create_operation, request)
        return next((value for name, value in response.items() if name.endswith("Arn")), None)

    def stop(self, arn: str) -> None:
        """Stop one, if it can be stopped."""
        self._call(str(self.resource.stop_operation), {self.resource.identifier: arn})

    def update(self, arn: str, request: Mapping[str, Any]) -> None:
        """Update one to match a Create request, as far as it can be changed."""
        changes = {new: request[name] for name, new in self.resource.updates.items() if name in request}
        self._call(str(self.resource.update_operation), {self.resource.identifier: arn, **changes})

    def delete(self, identifier: str) -> bool:
        """Delete one; return False if it does not exist."""
        try:
            self._call(str(self.resource.delete_operation), {self.resource.identifier: identifier})
        except ClientError as error:
            if is_not_found(error):
                return False
            raise
        return True

    def tags_of(self, arn: str) -> dict[str, str]:
        """Return its tags by key."""
        resource = self.resource
        if resource.taggable:
            return self.hook.tags_of(arn)
        shown = self._call(resource.get_operation, {resource.identifier: arn}).get(resource.tags, ())
        return {tag["key"]: tag["value"] for tag in shown}

    def tag(self, arn: str, tags: Sequence[Mapping[str, str]]) -> None:
        """Add tags, if its ARN can be tagged."""
        if self.resource.taggable:
            self._call("TagResource", {"resourceARN": arn, "tags": tags})

    def has_model(self, model_arn: str) -> bool:
        """Whether the model that it made still exists."""
        try:
            self._call(str(self.resource.model_operation), {"modelIdentifier": model_arn})
        except ClientError as error:
            if is_not_found(error):
                return False
            raise
        return True

    def can_retry(self, error: BaseException) -> bool:
        """Whether another call may succeed; after an error about credentials, a new client makes it.

        The connection may have new credentials then.
        """
        if is_about_credentials(error):
            self.hook.forget_client()
            return True
        return is_transient(error)

    def _call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        identifiers = (self.resource.identifier, "resourceARN", "modelIdentifier")
        arn = next((request[name] for name in identifiers if name in request), "")
        response: dict[str, Any] = getattr(self.hook.at(arn).conn, xform_name(operation))(**request)
        return response
