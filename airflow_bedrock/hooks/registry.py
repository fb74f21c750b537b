"""The hook for the model registry: it reads which model serves and who promoted it, through an AWS connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock import configuration
from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.converse import ConverseModel
from airflow_bedrock.customization.tags import tag_value
from airflow_bedrock.hooks.bedrock import BedrockHook, BedrockRuntimeHook
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.registry.approval import Approvals
from airflow_bedrock.registry.promotion import Promoter, SmokeTestError
from airflow_bedrock.registry.register import ModelVersion, Register
from airflow_bedrock.registry.retirement import Keep, Retirer
from airflow_bedrock.registry.serving import Deployments
from airflow_bedrock.registry.store import RegisterStore

_CHAMPION_OF, _APPROVED_BY = "airflow-bedrock/champion-of", "airflow-bedrock/approved-by"
_READY_SECONDS = 600.0  # a model that was just replaced may not be ready at once


class BedrockModelRegistryHook(BedrockHook):
    """The registry: which model of each line serves, which served before, and which is being promoted.

    :param registry_uri: the S3 prefix of the registry. (default: ``[bedrock] registry_uri``)
    :param kms_key_id: the KMS key that encrypts the registry; None leaves it to the bucket.
    """

    def __init__(
        self, *args: Any, registry_uri: str | None = None, kms_key_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        uri = registry_uri or configuration.registry_uri()
        self._store = RegisterStore(uri, self._s3, kms_key_id)
        self.approvals = Approvals(uri, self._s3, kms_key_id)
        """The questions about promotions, for an Airflow that cannot ask a person itself."""

    def names(self) -> list[str]:
        """Return the sorted names of all lines of models."""
        return self._store.names()

    def get(self, name: str) -> Register:
        """Return a line's register: champion, promotion in progress, and earlier models; empty for a new line."""
        return self._store.read(name)[0]

    def serving(self, register: Register, *, delay: float = 10, max_polls: int = 60) -> str | None:
        """Return the ARN of the model that the line's deployment serves; None if the line has no deployment.

        While the deployment is being created or updated, as during a promotion, it waits.
        """
        return self._deployments(delay=delay, max_polls=max_polls).serving(register)

    def promote(
        self,
        name: str,
        version: ModelVersion,
        *,
        compared_with: str | None = None,
        smoke_test: Mapping[str, str] | None = None,
        delay: float = 30,
        max_polls: int = 120,
    ) -> Register:
        """Promote a model, and return the register; see :meth:`Promoter.promote`.

        :param compared_with: the ARN of the model that it was compared with; None if it was not compared.
        :param smoke_test: ``prompt``, ``expect`` and ``system``; None for no smoke test.
        """
        register = self._promoter(smoke_test, delay, max_polls).promote(name, version, compared_with)
        self._tag(register)
        return register

    def roll_back(
        self, name: str, *, by: str, model_arn: str | None = None, delay: float = 30, max_polls: int = 120
    ) -> Register:
        """Put an earlier model back, and return the register; see :meth:`Promoter.roll_back`."""
        register = self._promoter(None, delay, max_polls).roll_back(name, by, model_arn)
        self._tag(register)
        return register

    def retirer(self, *, dag_id: str, model_name: str, keep: Keep, delay: float = 30, max_polls: int = 120) -> Retirer:
        """Return the object that finds the models of a line that nobody needs, and deletes them."""
        return Retirer(
            store=self._store,
            hook=self,
            deployments=self._deployments(delay=delay, max_polls=max_polls),
            environment=configuration.environment(),
            dag_id=dag_id,
            model_name=model_name,
            keep=keep,
        )

    def _promoter(self, smoke_test: Mapping[str, str] | None, delay: float, max_polls: int) -> Promoter:
        def ask(deployment_arn: str) -> None:
            if smoke_test:
                self._ask(deployment_arn, smoke_test)

        deployments = self._deployments(delay=delay, max_polls=max_polls)
        return Promoter(store=self._store, deployments=deployments, smoke_test=ask)

    def _deployments(self, *, delay: float, max_polls: int) -> Deployments:
        return Deployments(Service(DEPLOYMENT, self), delay=delay, max_polls=max_polls)

    def _ask(self, deployment_arn: str, smoke_test: Mapping[str, str]) -> None:
        """Run the smoke test on the deployment.

        :raises SmokeTestError: the answer does not match; the message does not quote it.
        :raises BedrockFatalError: the service refused the question.
        """
        model = ConverseModel(self._beside(BedrockRuntimeHook).conn, self.conn, deployment_arn)
        system = {"system": [{"text": smoke_test["system"]}]} if "system" in smoke_test else {}
        question = {
            "messages": [{"role": "user", "content": [{"text": smoke_test["prompt"]}]}],
            "inferenceConfig": {"maxTokens": 256, "temperature": 0.0},
            **system,
        }
        answer = model.ask_when_ready(question, _READY_SECONDS)
        if not re.search(smoke_test.get("expect", r"\S"), answer.text):
            raise SmokeTestError("Its answer to the smoke test does not match the expected pattern.")

    def _tag(self, register: Register) -> None:
        """Tag the models: which one serves, and until when the one before it served."""
        champion, name = register.champion, register.name
        if champion is None or champion.promoted_at is None:
            return
        approved = {_APPROVED_BY: champion.approved_by} if champion.approved_by else {}
        self._tag_model(champion.model_arn, {_CHAMPION_OF: name, **approved})
        for before in register.previous[:1]:
            if before.model_arn not in register.retired:
                self._tag_model(before.model_arn, {_CHAMPION_OF: f"{name} until {champion.promoted_at:%Y-%m-%d}"})

    def _tag_model(self, model_arn: str, tags: Mapping[str, str]) -> None:
        """Tag a model; if that is denied or the model does not exist, only the registry records it."""
        try:
            self.conn.tag_resource(
                resourceARN=model_arn, tags=[{"key": key, "value": tag_value(value)} for key, value in tags.items()]
            )
        except CALL_ERRORS as error:
            self.log.warning(
                "Could not tag %s with %s: %s. The registry still records it. Allow bedrock:TagResource.",
                model_arn,
                ", ".join(tags.values()),
                error,
            )

    def _s3(self) -> Any:
        return self._beside(S3Hook).conn
