"""Check training data in a task for what would fail a customization job, before one is paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock.base_models import FINE_TUNING
from airflow_bedrock.compat import outputs
from airflow_bedrock.datasets import DatasetError
from airflow_bedrock.exceptions import BedrockFatalError, kind_of
from airflow_bedrock.operators.arguments import Rule, flag, optional, real, rendered, text
from airflow_bedrock.operators.base import BedrockOperator
from airflow_bedrock.uris import file_uri

if TYPE_CHECKING:
    from airflow_bedrock.datasets.checking import CheckReport

_NAMED = 5  # number of problems in the error


def _file(value: Any) -> str:
    uri = file_uri(value)
    if uri.endswith("/"):
        raise ValueError("must be one file, since a customization job takes one")
    return uri


def _config(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping, like invocationLogsConfig in the request")
    return value


class BedrockDatasetCheckOperator(BedrockOperator):
    """Check training data against every rule and limit of its base model, in constant memory.

    A problem fails the task without a retry, before a job is paid for. Duplicates, conflicts and overlaps are only
    counted. Record texts are neither logged nor pushed.

    Returns (XCom) a mapping: ``ok``, ``records`` (of the training data), ``problems`` (their number by rule; under
    ``dataset`` those of the dataset as a whole), ``tokens_low`` and ``tokens_high`` (the estimated tokens of the
    training data), ``duplicates``, ``conflicts``, ``overlaps``, and ``near_overlaps`` (None if they were not counted).
    The XCom ``report`` has the report in Markdown, even if the task fails.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html

    Every parameter except the last one is templated.

    :param training_data_uri: one JSON Lines file, on S3 or local, or a folder of model invocation logs, ending in a
        slash.
    :param base_model_id: id or ARN of the base model; it decides the record format and the limits.
    :param customization_type: FINE_TUNING, CONTINUED_PRE_TRAINING, DISTILLATION or REINFORCEMENT_FINE_TUNING.
    :param validation_data_uri: the validation data, which counts towards the same limits.
    :param test_data_uri: held-out data; overlaps with the training data are counted.
    :param invocation_logs_config: for invocation logs: ``usePromptResponse`` and ``requestMetadataFilters``, as in the
        request.
    :param near_overlap_threshold: count validation and test questions that are at least this similar, 0 to 1, to a
        training question; start with 0.8. None counts none. Needs ``airflow-bedrock[prep]``.
    :param media_sizes: ask S3 for the size of each image, video and document. (default: False)
    :param fail_on_problems: False only reports problems.
    :param multiple_outputs: also push each value of the mapping as its own XCom. (default: True)
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "training_data_uri": file_uri,
        "invocation_logs_config": optional(_config),
        "media_sizes": flag,
        "near_overlap_threshold": optional(rendered(real(0, 1))),
        "validation_data_uri": optional(_file),
        "test_data_uri": optional(_file),
        "base_model_id": text,
        "customization_type": text,
        "fail_on_problems": flag,
    }
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, *rules)

    def __init__(
        self,
        *,
        training_data_uri: str,
        base_model_id: str,
        customization_type: str = FINE_TUNING,
        validation_data_uri: str | None = None,
        test_data_uri: str | None = None,
        invocation_logs_config: Mapping[str, Any] | None = None,
        near_overlap_threshold: float | str | None = None,
        media_sizes: bool = False,
        fail_on_problems: bool = True,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.training_data_uri = training_data_uri
        self.base_model_id = base_model_id
        self.customization_type = customization_type
        self.validation_data_uri = validation_data_uri
        self.test_data_uri = test_data_uri
        self.invocation_logs_config = invocation_logs_config
        self.near_overlap_threshold = near_overlap_threshold
        self.media_sizes = media_sizes
        self.fail_on_problems = fail_on_problems
        self._check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the data, push the report, and return the summary.

        :raises BedrockFatalError: a job on this data would fail, or the rules for it are unknown.
        :raises BedrockError: the storage failed with a transient error.
        """
        from airflow_bedrock.datasets.check_report import markdown, verdict

        arguments = self._checked()
        report = self._check(arguments)
        self.log.info("%s: %s", self.training_data_uri, verdict(report))
        if task_instance := context.get("ti"):
            task_instance.xcom_push(key="report", value=markdown(report))
        if arguments["fail_on_problems"] and not report.ok:
            raise BedrockFatalError(_text(self.training_data_uri, report))
        return outputs(_summary(report))

    def _check(self, arguments: Mapping[str, Any]) -> CheckReport:
        from airflow_bedrock.aws_errors import CALL_ERRORS
        from airflow_bedrock.datasets.checking import check_uris  # here, since a DAG file does not need it

        training, storage = arguments["training_data_uri"], self._files()
        try:
            return check_uris(
                {part: arguments[f"{part}_data_uri"] for part in ("training", "validation", "test")},
                arguments["base_model_id"],
                arguments["customization_type"],
                fetch=partial(storage.fetch, listed=training.endswith("/")),
                files_in=storage.files,
                logs_config=arguments["invocation_logs_config"],
                s3=self._s3.conn if arguments["media_sizes"] else None,
                near_overlaps=arguments["near_overlap_threshold"],
            )
        except DatasetError as error:
            raise BedrockFatalError(f"Could not check {training}: {error}. Nothing was spent.") from error
        except CALL_ERRORS as error:
            raise kind_of(error)(f"Could not check the media of {training}: {error}. Nothing was spent.") from error


def _text(uri: str, report: CheckReport) -> str:
    first = [f"{one.file}:{one.line} {one.where}: {one.message}" for one in report.findings[:_NAMED]]
    counts = [f"{rule}: {count}" for rule, count in report.problems.items()]
    faults = "; ".join([*report.dataset_problems, *counts, *first])
    return f"A job on {uri} would fail: {faults}. Nothing was paid for. Correct the data; the XCom report has the rest."


def _summary(report: CheckReport) -> dict[str, Any]:
    low, high = report.tokens
    of_the_dataset = {"dataset": len(report.dataset_problems)} if report.dataset_problems else {}
    return {
        "ok": report.ok,
        "records": report.files["training"].records,
        "problems": report.problems | of_the_dataset,
        "tokens_low": low,
        "tokens_high": high,
        "duplicates": report.duplicates.count,
        "conflicts": report.conflicts.count,
        "overlaps": report.overlaps.count,
        "near_overlaps": report.near_overlaps and report.near_overlaps.count,
    }
