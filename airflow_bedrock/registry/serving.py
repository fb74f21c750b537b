"""Put a model behind the deployment that callers use, and find out which one is there.

If botocore has UpdateCustomModelDeployment, one deployment stays and its model changes. Otherwise each model gets its
own deployment, and the register points to the one that serves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError, explained
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.waiting import wait_for
from airflow_bedrock.registry.register import Register


@dataclass(frozen=True)
class Deployments:
    """The deployments that serve lines of models.

    :param service: Bedrock's operations on deployments.
    :param delay: seconds between two polls.
    :param max_polls: maximum number of polls for one change.
    """

    service: Service
    delay: float
    max_polls: int

    @property
    def in_place(self) -> bool:
        """Whether one deployment stays and its model changes."""
        return DEPLOYMENT.update_operation in self.service.hook.conn.meta.service_model.operation_names

    def serving(self, register: Register) -> str | None:
        """Return the ARN of the model that serves the line's callers; None if there is no deployment yet."""
        found = self._of_line(register)
        return None if found is None or found.outcome is Outcome.FAILED else getattr(found, "model", None)

    def due(self, register: Register) -> str | None:
        """Return the ARN of the model that should serve, by the register; None before the first promotion."""
        promotion = register.promotion if self.in_place else None  # otherwise it has its own deployment
        version = promotion.version if promotion else register.champion
        return version.model_arn if version else None

    def put(self, register: Register, model_arn: str) -> str:
        """Put a model behind the line's deployment, and return the deployment's ARN.

        :raises BedrockFatalError: the service rejected it, or the deployment has failed.
        :raises BedrockError: it did not serve in time, or a transient error occurred.
        """
        name = register.name if self.in_place else name_for(register.name, model_arn)
        found = self._of_line(register) if self.in_place else self._known(name)
        if found is not None and found.outcome is Outcome.FAILED:  # it serves nothing, and uses the name
            with explained(f"delete deployment {found.arn}"):
                self.service.delete(found.arn)
            found = None
        identifier = found.arn if found else name
        if found is None:
            with explained(f"deploy {model_arn} as {name}"):
                # botocore makes a new clientRequestToken each time: the service ignores a known token, even for a
                # deployment that was deleted. The name prevents two deployments.
                identifier = self.service.create({"modelDeploymentName": name, "modelArn": model_arn}) or name
        elif getattr(found, "model", None) != model_arn:
            with explained(f"change deployment {found.arn} to {model_arn}"):
                self.service.update(found.arn, {"modelArn": model_arn})
        else:
            return found.arn
        served = self._settled(identifier)
        if served is not None and served.outcome is not Outcome.SUCCEEDED:
            raise BedrockFatalError(DEPLOYMENT.failure_message(served))
        if served is None or getattr(served, "model", None) != model_arn:
            raise BedrockError(
                f"Deployment {identifier} does not serve {model_arn}: "
                f"{(served and served.failure_message) or 'no reason was given'}. It still serves its former model; "
                "a retry of this task tries again."
            )
        return served.arn

    def remove(self, register: Register, model_arn: str) -> None:
        """Delete the deployment of a model that failed to serve, unless the line needs it."""
        identifier = register.name if self.in_place else name_for(register.name, model_arn)
        found = self._settled(identifier)
        if found is not None and getattr(found, "model", None) == model_arn:
            with explained(f"delete deployment {found.arn}"):
                self.service.delete(found.arn)

    def _of_line(self, register: Register) -> Seen | None:
        """Return the line's deployment; by its name if the one in the register was deleted by hand, or has failed."""
        found = self._known(register.deployment_arn) if register.deployment_arn else None
        if self.in_place and (found is None or found.outcome is Outcome.FAILED):
            found = self._known(register.name)
        return found

    def _known(self, identifier: str) -> Seen | None:
        """Return the deployment, which serves or has failed; None if it does not exist."""
        found = self._settled(identifier)
        if found is not None and found.outcome not in (Outcome.SUCCEEDED, Outcome.FAILED):
            raise BedrockFatalError(DEPLOYMENT.failure_message(found))
        return found

    def _settled(self, identifier: str) -> Seen | None:
        """Return the deployment when it is neither being created nor updated; None if it does not exist."""
        with explained(f"read deployment {identifier}"):
            found = self.service.get(identifier)
            if found is not None and found.outcome is Outcome.RUNNING:
                found = wait_for(
                    self.service, found.arn, delay=self.delay, max_polls=self.max_polls, no_response_timeout=0
                )
        return found


def name_for(name: str, model_arn: str) -> str:
    """Return the name of a model's own deployment, for a botocore that cannot change the model of a deployment."""
    return f"{name[:54].rstrip('-_')}-{hashlib.sha256(f'{name} {model_arn}'.encode()).hexdigest()[:8]}"
