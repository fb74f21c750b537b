"""Promote and roll back, in an order in which a crash at any call leaves one model serving.

First the intent is written with If-Match. Then the deployment changes, and the smoke test calls it. Then the result is
written, again with If-Match. A try that finds its own intent continues where the earlier try ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.registry import register as registers
from airflow_bedrock.registry.register import ModelVersion, NotPromotedError, Register
from airflow_bedrock.registry.serving import Deployments
from airflow_bedrock.registry.store import ConflictError, RegisterStore

log = logging.getLogger(__name__)


class SmokeTestError(BedrockFatalError):
    """The model's answer to the smoke test is wrong: it is not promoted again."""


@dataclass(frozen=True, kw_only=True)
class Promoter:
    """Puts models behind the deployment of their line.

    :param smoke_test: tests the deployment with the ARN; raises SmokeTestError if the answer is wrong, and another
        BedrockFatalError if the service refused the question, which says nothing about the model.
    """

    store: RegisterStore
    deployments: Deployments
    smoke_test: Callable[[str], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def promote(self, name: str, version: ModelVersion, compared_with: str | None = None) -> Register:
        """Promote the version, and return the register; a version that already serves is left unchanged.

        :param compared_with: the ARN of the model that it was compared with; None if it was not compared.
        :raises NotPromotedError: the champion stays, because its period is newer, or it is not the model that the
            version was compared with, or because the version was rejected.
        :raises BedrockFatalError: it failed its smoke test, and the champion serves again; or the service refused it.
        :raises BedrockError: another promotion is in progress, or a transient error occurred.
        """
        register, etag = self._read(name)
        champion = register.champion
        serves = champion is not None and champion.model_arn == version.model_arn
        if register.promotion is None and champion and serves and champion.promoted_by != registers.BY_HAND:
            return self._settle(register)
        try:
            intent = registers.proposed(register, version, self.now(), compared_with=compared_with)
        except NotPromotedError:
            self._restore(register, version.model_arn)
            raise
        return self._carry_out(intent, etag)

    def roll_back(self, name: str, by: str, model_arn: str | None = None) -> Register:
        """Put an earlier version back, and return the register.

        :param by: the user who rolls back.
        :param model_arn: the version's model; None takes the latest that was not rejected.
        :raises BedrockFatalError: the version does not exist.
        """
        register, etag = self._read(name)
        return self._carry_out(registers.rolled_back(register, model_arn, by, self.now()), etag)

    def _read(self, name: str) -> tuple[Register, str | None]:
        register, etag = self.store.read(name)
        return registers.reconciled(register, self.deployments.serving(register), self.now()), etag

    def _carry_out(self, intent: Register, etag: str | None) -> Register:
        etag = self.store.write(intent, etag)
        try:
            deployment_arn = self.deployments.put(intent, intent.candidate.model_arn)
        except BedrockFatalError:
            self._write_or_yield(registers.abandoned(intent, rejected=False), etag)  # it must not block another one
            raise
        try:
            self.smoke_test(deployment_arn)
        except BedrockFatalError as error:
            rest = registers.abandoned(intent, rejected=isinstance(error, SmokeTestError))
            self._write_or_yield(rest, etag)
            model_arn = intent.candidate.model_arn
            outcome = self._restore(rest, model_arn)
            raise BedrockFatalError(f"{model_arn} was not promoted to {intent.name}: {error} {outcome}") from error
        fact = registers.confirmed(intent, deployment_arn, self.now())
        self._write_or_yield(fact, etag)
        log.info("%s serves as %s, by deployment %s", intent.candidate.model_arn, intent.name, deployment_arn)
        return fact

    def _write_or_yield(self, register: Register, etag: str) -> None:
        """Write the register; if another promotion has replaced this one, serve its model."""
        try:
            self.store.write(register, etag)
        except ConflictError:
            self._settle(self.store.read(register.name)[0])
            raise

    def _restore(self, register: Register, model_arn: str) -> str:
        """Let the champion serve instead of a model that was not promoted, and return a sentence about that.

        :param register: the register without the model's promotion.
        """
        if register.champion is None:
            self.deployments.remove(register, model_arn)
            return "No model served before it; its deployment was deleted."
        champion = register.champion.model_arn
        try:
            self._settle(register)
        except BedrockFatalError as error:
            raise BedrockFatalError(
                f"{model_arn} was not promoted to {register.name}, but the champion {champion} cannot serve instead: "
                f"{error} Roll back to an earlier model, or delete the deployment if it exists: the next promotion "
                "makes it again."
            ) from error
        return f"The champion {champion} serves."

    def _settle(self, register: Register) -> Register:
        """Serve the model that the register names, even if that changes; return it."""
        while (due := self.deployments.due(register)) and due != self.deployments.serving(register):
            register, _ = self.store.read(register.name)
            if due != self.deployments.due(register):
                continue  # another promotion has changed it since it was read
            log.warning("%s should serve as %s: putting it behind the deployment", due, register.name)
            deployment_arn = self.deployments.put(register, due)
            register, etag = self.store.read(register.name)
            if register.deployment_arn != deployment_arn and due == self.deployments.due(register):
                register = msgspec.structs.replace(register, deployment_arn=deployment_arn)  # the old one is gone
                self.store.write(register, etag)
        return register
