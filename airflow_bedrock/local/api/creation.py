"""Creates a resource, once for each token, and starts its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_bedrock.local import moto
from airflow_bedrock.local.api.tags import check_tags
from airflow_bedrock.local.errors import conflict, invalid
from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Accepted, Resource
from airflow_bedrock.local.work.batch_inference import infer
from airflow_bedrock.local.work.copying import copy
from airflow_bedrock.local.work.customization import customize
from airflow_bedrock.local.work.importing import import_model, register
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.serving import provision, serve

WORK: dict[str, Callable[[Bedrock, Any], Work]] = {
    "jobs": customize,
    "deployments": serve,
    "throughputs": provision,
    "models": register,
    "imports": import_model,
    "copies": copy,
    "invocations": infer,
}
"""The work of each kind of active resource, by the member of the region's state that holds it."""


@dataclass(frozen=True)
class Creation:
    """How resources of a kind are created.

    :param operation: the operation's name.
    :param kind: one of :data:`WORK`.
    :param answer: the member of the response that holds the ARN.
    :param tags: the member of the request that holds the tags.
    """

    operation: str
    kind: str
    answer: str = "jobArn"
    tags: str = "tags"

    def once(self, bedrock: Bedrock, request: dict[str, Any], make: Callable[[], Resource]) -> dict[str, Any]:
        """Return a new resource, or the one that the request's clientRequestToken has made before.

        :param make: checks the request against the current state, and makes the resource; called with the world's lock
            held.
        :raises ServiceError: ConflictException, if the token came with another request; TooManyTagsException.
        """
        check_tags(request)
        token, tokens = request.get("clientRequestToken"), bedrock.tokens
        members = {name: value for name, value in request.items() if name != "clientRequestToken"}
        with bedrock.world.lock:
            accepted = tokens.get(f"{self.operation} {token}")
            if accepted is None:
                resource = make()
                accepted = Accepted(members, resource.arn)
                if token is not None:
                    tokens[f"{self.operation} {token}"] = accepted
                getattr(bedrock, self.kind)[resource.arn] = resource
                bedrock.tag(resource.arn, request.get(self.tags))
                bedrock.world.runner.add(resource.arn, WORK[self.kind](bedrock, resource))
            elif accepted.request != members:
                raise conflict("The clientRequestToken was used before, with different parameters. Use a new token.")
        return {self.answer: accepted.arn}


def kms_key_arn(bedrock: Bedrock, identifier: str | None) -> str | None:
    """Return the ARN of the KMS key that encrypts a model, checked; None if the request names no key.

    https://docs.aws.amazon.com/bedrock/latest/userguide/encryption-custom-job.html

    :param identifier: the key's id, its ARN, an alias or the ARN of an alias.
    :raises ServiceError: ValidationException.
    """
    if identifier is None:
        return None
    key = moto.kms_key(identifier, bedrock.account, bedrock.region)
    if key is None:
        raise invalid(f"The provided KMS key {identifier} was not found in {bedrock.region}.")
    if (key.key_state, key.key_spec) != ("Enabled", "SYMMETRIC_DEFAULT"):
        raise invalid(
            f"The provided KMS key {key.arn} is {key.key_state}, and its spec is {key.key_spec}: "
            "use a symmetric encryption key that is Enabled."
        )
    arn: str = key.arn
    return arn


def check_role(bedrock: Bedrock, arn: str, for_arn: str) -> None:
    """Check that Bedrock may assume a job's role.

    :raises ServiceError: ValidationException.
    """
    if not Role(bedrock, arn, for_arn).assumable:
        raise invalid("Could not assume provided IAM role.")
