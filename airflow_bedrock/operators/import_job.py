"""Import a model trained elsewhere from S3, or make a custom model from a Nova checkpoint, once; delete a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import jobs, spend
from airflow_bedrock.exceptions import BedrockFatalError, kind_of, nothing_spent
from airflow_bedrock.links import CustomModelLink, PaidResourceLink
from airflow_bedrock.operators.arguments import (
    CONTENT,
    Rule,
    given,
    member,
    named,
    optional,
    rendered,
    tags_rule,
    text,
    whole,
)
from airflow_bedrock.operators.base import BedrockOperator
from airflow_bedrock.operators.shared_resource import StoredModelOperator

if TYPE_CHECKING:
    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.prices import Figure

_IMPORT, _CREATE = "CreateModelImportJob", "CreateCustomModel"
_SOURCE = member("bedrock", _IMPORT, "modelDataSource", "s3://bucket/folder")
_MODEL = member("bedrock", "DeleteCustomModel", "modelIdentifier", "the ARN or the name of a custom model")


def _folder(value: Any) -> str:
    _SOURCE({"s3DataSource": {"s3Uri": value}})
    return str(value)


class _FromFilesOperator(StoredModelOperator):
    """Make a model from files in S3, whose content identifies it unless ``content`` is ``ignore``."""

    rules: ClassVar[Mapping[str, Rule]] = {"model_data_uri": named(_folder), "content": CONTENT}
    template_fields: Sequence[str] = (*StoredModelOperator.template_fields, *rules)

    def __init__(self, *, model_data_uri: str, content: str = "identify", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_data_uri = model_data_uri
        self.content = content

    def _data(self) -> list[dict[str, Any]]:
        if self.content == "ignore":
            return []
        folder = self.model_data_uri
        with nothing_spent(f"Reading {folder}"):
            return jobs.s3.describe_data(self._s3, [folder], folders=[folder])


class BedrockModelImportOperator(_FromFilesOperator):
    """Import a model, once, from its files in S3 (Custom Model Import).

    An import job costs nothing and cannot be stopped: if the task ends first, the log says that the job continues. The
    imported model is billed for its storage each month until DeleteImportedModel, and for the time in which it answers.

    Returns (XCom) the ARN of the imported model; with ``wait_for_completion=False`` that of the job. Pushes ``result``:
    ``{job_arn, imported_model_arn, imported_model_name}``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelImportJob.html

    Every parameter is templated.

    :param job_name: the prefix of the job's name.
    :param imported_model_name: the prefix of the model's name.
    :param role_arn: the role that Bedrock assumes to read the files.
    :param model_data_uri: the folder on S3 with the model's files.
    :param kms_key_id: id, ARN or alias of the KMS key that encrypts the imported model.
    :param vpc_config: ``{"subnetIds": [...], "securityGroupIds": [...]}``.
    :param content: ``identify`` the model by the content of its files, so that changed files in the same location are
        another model; or ``ignore`` the content, if the connection is not allowed to read the files.
    :param custom_model_units: the maximum number of custom model units of a copy of the model: with a budget, a month
        of their storage is reserved. Bedrock reports the number when it has imported the model.
    """

    kind = "airflow_bedrock.jobs.resources.import_job:IMPORT_JOB"
    rules: ClassVar[Mapping[str, Rule]] = {
        "job_name": named(text),
        "imported_model_name": named(text),
        "role_arn": named(member("bedrock", _IMPORT, "roleArn", "the ARN of a role")),
        "kms_key_id": given(
            member("bedrock", _IMPORT, "importedModelKmsKeyId", "the id, ARN or alias (alias/name) of a KMS key")
        ),
        "vpc_config": given(member("bedrock", _IMPORT, "vpcConfig", "a mapping with subnetIds and securityGroupIds")),
        "custom_model_units": optional(rendered(whole(1))),
        "tags": tags_rule(_IMPORT, "jobTags"),
    }
    template_fields: Sequence[str] = (*_FromFilesOperator.template_fields, *rules)
    operator_extra_links = (PaidResourceLink(),)

    def __init__(
        self,
        *,
        job_name: str,
        imported_model_name: str,
        role_arn: str,
        kms_key_id: str | None = None,
        vpc_config: Mapping[str, Any] | None = None,
        custom_model_units: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.imported_model_name = imported_model_name
        self.role_arn = role_arn
        self.kms_key_id = kms_key_id
        self.vpc_config = vpc_config
        self.custom_model_units = custom_model_units
        self._check_literals()

    def _members(self) -> dict[str, Any]:
        optional = {"importedModelKmsKeyId": self.kms_key_id, "vpcConfig": self.vpc_config}
        return {
            "jobName": self.job_name,
            "importedModelName": self.imported_model_name,
            "roleArn": self.role_arn,
            "modelDataSource": {"s3DataSource": {"s3Uri": self.model_data_uri}},
            **{name: value for name, value in optional.items() if value},
        }

    def _storage(self, arguments: Mapping[str, Any]) -> tuple[str, Figure, int]:
        if not (units := arguments["custom_model_units"]):
            raise LookupError("The number of custom model units is not known in advance. Set custom_model_units.")
        return "imported-model", "imported_storage", units

    def _result(self, found: Seen, context: Context) -> str | None:
        self.log.info("Imported %s as model %s. %s", self.model_data_uri, found.model_arn, self._bill(found))
        result = {
            "job_arn": found.arn,
            "imported_model_arn": found.model_arn,
            "imported_model_name": found.model_name,
        }
        context["ti"].xcom_push(key="result", value=result)
        return found.model_arn

    def _bill(self, found: Seen) -> str:
        """Log what the model costs each month, if known; an unknown cost does not fail the task."""
        try:
            known = spend.pricing.known_prices()
            units = spend.imported.units_of(self.hook.conn, str(found.model_arn))
        except (BedrockFatalError, *jobs.aws_errors.CALL_ERRORS) as error:
            return f"Its monthly cost is unknown: {error}"
        rates = spend.imported.rates_of(units, known, self.hook.conn_region_name)
        usd = rates.usd_a_month
        storage = "no price is known for its storage" if usd is None else f"{usd:f} USD a month at {rates.storage}"
        return f"Until DeleteImportedModel it costs: {storage}; {rates.answering}."


class BedrockCustomModelOperator(_FromFilesOperator):
    """Make a custom model, once, from a Nova checkpoint in S3, such as one from SageMaker AI (CreateCustomModel).

    The creation cannot be stopped: if the task ends first, the log says that the creation continues. The storage of the
    model is billed each month until
    :class:`~airflow_bedrock.operators.BedrockDeleteCustomModelOperator` deletes it.

    Returns (XCom) the ARN of the model. Pushes ``result``: ``{custom_model_arn, custom_model_name}``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateCustomModel.html

    Every parameter is templated.

    :param model_name: the prefix of the model's name.
    :param model_data_uri: the folder on S3 with the checkpoint.
    :param role_arn: the role that Bedrock assumes, to read the files.
    :param kms_key_arn: the ARN of the KMS key that encrypts the model.
    :param content: as for :class:`BedrockModelImportOperator`.
    :param base_model_id: the base model of the checkpoint: with a budget, a month of its storage is reserved.
    """

    kind = "airflow_bedrock.jobs.resources.created_model:CREATED_MODEL"
    rules: ClassVar[Mapping[str, Rule]] = {
        "model_name": named(text),
        "role_arn": given(member("bedrock", _CREATE, "roleArn", "the ARN of a role")),
        "kms_key_arn": given(member("bedrock", _CREATE, "modelKmsKeyArn", "the ARN of a KMS key")),
        "base_model_id": given(text),
        "tags": tags_rule(_CREATE, "modelTags"),
    }
    template_fields: Sequence[str] = (*_FromFilesOperator.template_fields, *rules)
    operator_extra_links = (PaidResourceLink(), CustomModelLink())
    job_key = "result"

    def __init__(
        self,
        *,
        model_name: str,
        role_arn: str | None = None,
        kms_key_arn: str | None = None,
        base_model_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.role_arn = role_arn
        self.kms_key_arn = kms_key_arn
        self.base_model_id = base_model_id
        self._check_literals()

    def _members(self) -> dict[str, Any]:
        optional = {"roleArn": self.role_arn, "modelKmsKeyArn": self.kms_key_arn}
        return {
            "modelName": self.model_name,
            "modelSourceConfig": {"s3DataSource": {"s3Uri": self.model_data_uri}},
            **{name: value for name, value in optional.items() if value},
        }

    def _storage(self, arguments: Mapping[str, Any]) -> tuple[str, Figure, int]:
        if not (base := arguments["base_model_id"]):
            raise LookupError("The base model of the checkpoint is not known in advance. Set base_model_id.")
        return base, "storage", 1

    def _result(self, found: Seen, context: Context) -> str:
        self.log.info("Custom model %s is Active; it %s", found.arn, self._resource.billed)
        result = {"custom_model_arn": found.arn, "custom_model_name": found.name}
        context["ti"].xcom_push(key="result", value=result)
        return found.arn


class BedrockDeleteCustomModelOperator(BedrockOperator):
    """Delete a custom model, for good. If it does not exist, the task succeeds.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_DeleteCustomModel.html

    :param model_identifier: the custom model's ARN or name. A model named None needs its ARN, since a template that
        finds nothing renders None. (templated)
    """

    rules: ClassVar[Mapping[str, Rule]] = {"model_identifier": named(_MODEL)}
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, *rules)

    def __init__(self, *, model_identifier: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_identifier = model_identifier
        self._check_literals()

    def execute(self, context: Context) -> None:
        """Delete the model.

        :raises BedrockFatalError: the service rejected it, e.g. because a deployment still uses the model.
        :raises BedrockError: a transient error occurred.
        """
        self._checked()
        try:
            existed = jobs.service.Service(jobs.created_model.CREATED_MODEL, self.hook).delete(self.model_identifier)
        except jobs.aws_errors.CALL_ERRORS as error:
            raise kind_of(error)(
                f"Custom model {self.model_identifier} was not deleted, and its storage is still billed: {error}. "
                "First delete the deployments and provisioned throughput that use it."
            ) from error
        outcome = "was deleted; its storage is no longer billed" if existed else "does not exist: nothing to delete"
        self.log.info("Custom model %s %s", self.model_identifier, outcome)
