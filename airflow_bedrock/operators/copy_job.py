"""Copy a custom model to another region or account, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import hooks, jobs
from airflow_bedrock.exceptions import BedrockFatalError, nothing_spent
from airflow_bedrock.links import CustomModelLink, PaidResourceLink
from airflow_bedrock.operators.arguments import Rule, given, member, named, tags_rule, text
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.shared_resource import StoredModelOperator
from airflow_bedrock.uris import Arn

if TYPE_CHECKING:
    from airflow_bedrock.customization.identity import TaskKey
    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.prices import Figure

_CREATE = "CreateModelCopyJob"


class BedrockModelCopyOperator(StoredModelOperator):
    """Copy a custom model, once, to the region and account of ``region_name`` and ``aws_conn_id``.

    If the model is in another account, set ``source_aws_conn_id``: the task shares the model with the account of
    ``aws_conn_id`` (AWS RAM), copies it there, and ends the share when the copy has ended. Both accounts must be in one
    organization that allows sharing. If the model is encrypted with its own KMS key, the key's policy must let the
    copying account decrypt.

    A copy job costs nothing and cannot be stopped: if the task ends first, the log says that the job continues. The
    storage of the copy is billed each month until
    :class:`~airflow_bedrock.operators.BedrockDeleteCustomModelOperator` deletes it.

    Returns (XCom) the ARN of the copy; with ``wait_for_completion=False`` that of the copy job. Pushes ``result``:
    ``{job_arn, custom_model_arn, custom_model_name, source_model_arn}``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelCopyJob.html

    Every parameter is templated.

    :param source_model_arn: the ARN of the custom model to copy.
    :param target_model_name: the prefix of the copy's name, or with ``ensure_unique_name=False`` the whole name.
    :param model_kms_key_id: id, ARN or alias of the KMS key that encrypts the copy, in its region.
    :param source_aws_conn_id: the Airflow connection to the model's account, if that is another account.
    """

    kind = "airflow_bedrock.jobs.resources.copy_job:COPY_JOB"
    rules: ClassVar[Mapping[str, Rule]] = {
        "source_model_arn": named(member("bedrock", _CREATE, "sourceModelArn", "the ARN of a custom model")),
        "target_model_name": named(text),
        "model_kms_key_id": given(
            member("bedrock", _CREATE, "modelKmsKeyId", "the id, ARN or alias (alias/name) of a KMS key")
        ),
        "source_aws_conn_id": given(text),
        "tags": tags_rule(_CREATE, "targetModelTags"),
    }
    template_fields: Sequence[str] = (*StoredModelOperator.template_fields, *rules)
    operator_extra_links = (PaidResourceLink(), CustomModelLink())
    job_key = "result"

    def __init__(
        self,
        *,
        source_model_arn: str,
        target_model_name: str,
        model_kms_key_id: str | None = None,
        source_aws_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_model_arn = source_model_arn
        self.target_model_name = target_model_name
        self.model_kms_key_id = model_kms_key_id
        self.source_aws_conn_id = source_aws_conn_id
        self._check_literals()

    def _members(self) -> dict[str, Any]:
        key = {"modelKmsKeyId": self.model_kms_key_id} if self.model_kms_key_id else {}
        return {"sourceModelArn": self.source_model_arn, "targetModelName": self.target_model_name, **key}

    def _storage(self, arguments: Mapping[str, Any]) -> tuple[str, Figure, int]:
        return self.source_model_arn, "storage", 1

    def _ask(self, context: Context, arguments: Mapping[str, Any], **how: Any) -> jobs.submission.Submission:
        if self.source_aws_conn_id:
            how["before_paying"] = partial(self._share, how["before_paying"], task_key_of(context))
        return super()._ask(context, arguments, **how)

    def _find_or_create(self, submission: jobs.submission.Submission, context: Context) -> Seen:
        try:
            return super()._find_or_create(submission, context)
        except BedrockFatalError as error:
            owner = Arn.of(self.source_model_arn).account
            rejected = jobs.aws_errors.error_code(error.__cause__)  # AWS has rejected the copy
            if not rejected or self.source_aws_conn_id or owner == (account := self._account()):
                raise
            raise type(error)(
                f"{error} The model is in account {owner}, and the copy goes to {account}. Set source_aws_conn_id to a "
                f"connection to account {owner}: the task then shares the model while it is copied. Or share it in AWS "
                "RAM, and clear this task."
            ) from error

    def _account(self) -> str:
        """Return the account of the copy."""
        with nothing_spent("Reading the account of the copy (AWS STS)", "copy job"):
            return Arn.of(jobs.account.caller_arn(self.hook)).account

    def _share(self, check: Any, task_key: TaskKey) -> None:
        """Share the model, right before it is copied."""
        check()
        account = self._account()
        if account == Arn.of(self.source_model_arn).account:
            raise BedrockFatalError(
                f"Connection {self.aws_conn_id} belongs to the account of model {self.source_model_arn}. No copy was "
                "made. Remove source_aws_conn_id, or set aws_conn_id to a connection to the account of the copy."
            )
        jobs.sharing.share(
            self._source_of(self.source_model_arn), self._share_name(task_key), self.source_model_arn, account
        )

    def _share_name(self, task_key: TaskKey) -> str:
        return f"copy-{self._identity(task_key).job_name()}"

    def _source_of(self, model_arn: str) -> hooks.BedrockHook:
        region = Arn.of(model_arn).region
        where = {**self._hook_parameters, "aws_conn_id": self.source_aws_conn_id, "region_name": region}
        return jobs.connection.Connection.of(**where).bedrock()

    def _finish(self, found: Any, context: Context) -> Any:
        try:
            return super()._finish(found, context)
        finally:
            if self.source_aws_conn_id:
                own = (self.source_model_arn, self._share_name(task_key_of(context)))
                # An earlier try, which made the job, may have shared another model.
                of_job = (found.model or self.source_model_arn, f"copy-{found.name}")
                for model_arn, name in dict.fromkeys((own, of_job)):
                    jobs.sharing.unshare(self._source_of(model_arn), name)

    def _result(self, found: Any, context: Context) -> Any:
        source = found.model or self.source_model_arn  # an earlier try may have copied another model
        self.log.info("Model %s has been copied to %s", source, found.model_arn)
        context["ti"].xcom_push(
            key="result",
            value={
                "job_arn": found.arn,
                "custom_model_arn": found.model_arn,
                "custom_model_name": found.name,
                "source_model_arn": source,
            },
        )
        return found.model_arn
