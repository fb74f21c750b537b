"""The base of the operators of resources that others may share, or delete: it records whose each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_bedrock import __version__, customization, jobs
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.paid import PaidOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bedrock.customization.identity import TaskKey
    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.jobs.on_kill import KillSwitch


class SharedResourceOperator(PaidOperator):
    """Make one paid resource, once; wait for it; stop it when no task waits for it any more.

    :param tags: tags of the resource: key → value. (templated)
    :param wait_for_completion: wait until it is done; with False, return as soon as it was requested, without
        deferring, even with ``deferrable=True``.
    """

    template_fields: Sequence[str] = (*PaidOperator.template_fields, "tags")

    _is_adopted = False  # otherwise the task itself has made it

    def __init__(
        self, *, tags: Mapping[str, str] | None = None, wait_for_completion: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.wait_for_completion = wait_for_completion

    def _note(self, found: Seen, kill: KillSwitch, context: Context) -> None:
        # A resource in service is left to its users, and so is one that another task has made.
        identity, token = self._identity(task_key_of(context)), customization.identity.Token.read(found.token)
        self._is_ours = not self._resource.lasts or (identity.is_of_task(token) and self._resource.is_unused(found))
        self._is_adopted = not identity.is_of_who(token)
        super()._note(found, kill, context)
        context["ti"].xcom_push(key="is_ours", value=self._is_ours)
        context["ti"].xcom_push(key="is_adopted", value=self._is_adopted)

    def _ended(self, found: Seen, kill: KillSwitch, **so_far: Any) -> Seen:
        with self._may_be_gone():
            return super()._ended(found, kill, **so_far)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Resume with the trigger's event."""
        self._recall(context)
        with self._may_be_gone():
            return super().execute_complete(context, event)

    @contextmanager
    def _may_be_gone(self) -> Iterator[None]:
        """Let a retry make another one if the adopted one was deleted meanwhile."""
        try:
            yield
        except jobs.waiting.MissingError as error:
            if not self._is_adopted:
                raise
            raise BedrockError(f"{error} Another task had made it: a retry of this one makes another.") from error

    def _stop(self, arn: str, task_key: TaskKey) -> str:
        if not self._is_ours:
            name = f"{self._resource.noun.capitalize()} {arn}"
            return f"{name} existed before this try requested it. It was left as it is, and {self._resource.billed}."
        return super()._stop(arn, task_key)

    def _recall(self, context: Context) -> None:
        from airflow_bedrock.shown import pushed  # here, since a DAG file does not need it

        super()._recall(context)
        self._is_ours, self._is_adopted = (bool(pushed(context["ti"], key)) for key in ("is_ours", "is_adopted"))

    def _tagged(self, given: Sequence[Mapping[str, str]] | None, task_key: TaskKey) -> list[Mapping[str, str]]:
        """Return the user's tags, and those of the task."""
        return customization.tags.with_tags(given or (), customization.tags.automatic_tags(task_key, __version__))
