"""The Params of a DAG's form, and a check of a run's conf: for the example DAGs, and for yours.

Airflow accepts any key in a run's conf. A misspelled key would leave a paid job at the form's default.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Param

from airflow_bedrock.base_models import FINE_TUNING, base_model, base_models
from airflow_bedrock.exceptions import BedrockFatalError

log = logging.getLogger(__name__)


def refuse_unknown_params(context: Mapping[str, Any]) -> None:
    """Fail the task if the conf of its run has a key that is not a param of the DAG. Use it as ``pre_execute``.

    In ``default_args`` it applies to each task, so that the first one fails, before anything is paid for::

        DAG(..., default_args={"pre_execute": refuse_unknown_params})

    :param context: the task's.
    :raises BedrockFatalError: the conf has such keys; the message names them and the params.
    """
    known = {*context["dag"].params, *context["task"].params}
    given = context["dag_run"].conf or {}
    if unknown := sorted(given.keys() - known):
        raise BedrockFatalError(
            f"The conf of run {context['dag_run'].run_id} has {', '.join(unknown)}, but the params of "
            f"{context['dag'].dag_id} are {', '.join(sorted(known))}. Nothing was done and nothing was spent. Trigger "
            "the DAG again with these params."
        )


def refuse_unavailable(
    base_model_id: str,
    source_uri: str | None = None,
    *,
    customization_type: str = FINE_TUNING,
    aws_conn_id: str | None = "aws_default",
) -> None:
    """Fail if the base model or the data is not available. Call it in the first task of a DAG, before data is prepared.

    :param base_model_id: the model to customize; if ``base_models.toml`` does not have its regions, a warning says that
        the region was not checked.
    :param source_uri: the data, on S3 or local: a file, or a folder that ends in a slash.
    :param customization_type: the type of customization.
    :param aws_conn_id: the Airflow connection of the later tasks.
    :raises BedrockFatalError: the model cannot be customized in the region of the connection, or there is no such data.
    :raises BedrockError: S3 failed with a transient error.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_bedrock.hooks.bedrock import BedrockHook
    from airflow_bedrock.storage import Storage

    model, region = base_model(base_model_id), BedrockHook(aws_conn_id=aws_conn_id).conn_region_name
    method = model.methods.get(customization_type) if model else None
    if method is None:
        log.warning(
            "base_models.toml does not list the regions where %s can be customized by %s: %s is not checked, and "
            "Bedrock may refuse the job there",
            *(base_model_id, customization_type, region),
        )
    elif region not in method.regions:
        raise BedrockFatalError(
            f"{base_model_id} cannot be customized in {region}, only in {', '.join(method.regions)}. Nothing was spent."
            " Choose another base model, or an AWS connection of one of these regions."
        )
    if source_uri:
        storage = Storage(lambda: S3Hook(aws_conn_id=aws_conn_id).conn)
        try:
            storage.etag(storage.files(source_uri)[0])
        except BedrockFatalError as error:
            raise BedrockFatalError(f"{error} Nothing was spent.") from error


def text_models(
    customization_type: str = FINE_TUNING,
    *,
    hyperparameters: Collection[str] = (),
    validation: bool = True,
    on_demand: bool = True,
) -> dict[str, str]:
    """Return the base models for a form: their ids for customization, and their names.

    They are the text models in ``base_models.toml`` that have not reached their end of life. Use ``enum=list(models)``
    and ``values_display=models`` in a Param.

    :param customization_type: the type of customization that they must support.
    :param hyperparameters: names of hyperparameters in the form, which the models must support.
    :param validation: whether they must accept validation data of any size.
    :param on_demand: whether their custom models must support on-demand deployment.
    """
    today = datetime.now(UTC).date()
    found = {}
    for model in base_models():
        method = model.methods.get(customization_type)
        if (
            method is not None
            and method.format != "image"
            and method.hyperparameters.keys() >= set(hyperparameters)
            and not (validation and method.max_validation_records is not None)
            and (model.on_demand or not on_demand)
            and not model.has_ended(today)
        ):
            found[model.customizable_id] = model.name
    return found


def base_model_param(models: Mapping[str, str]) -> Param:
    """Return the Param of the base model, a dropdown of :func:`text_models` with Nova Micro or the first chosen."""
    default = "amazon.nova-micro-v1:0:128k"
    return Param(
        default if default in models else next(iter(models)),
        type="string",
        enum=list(models),
        values_display=dict(models),
        title="Base model",
        description_md="The foundation model to customize. Larger models cost more to train and to call.",
        section="Model",
    )


def epochs_param(most: int = 5) -> Param:
    """Return the Param of the number of epochs: 2, at most ``most``."""
    return Param(
        2,
        type="integer",
        minimum=1,
        maximum=most,
        title="Epochs",
        description_md=f"1 to {most}. More epochs cost more.",
        section="Hyperparameters",
    )


def held_out_param() -> Param:
    """Return the Param of the number of held-out records for an evaluation."""
    return Param(
        300,
        type="integer",
        minimum=20,
        maximum=5000,
        title="Number of held-out records",
        description_md="Both models are asked about each record: two calls of the Converse API.",
        section="Evaluation",
    )


def max_cost_param() -> Param:
    """Return the Param of the limit in US dollars, for the argument ``max_cost`` of the customization operator."""
    return Param(
        None,
        type=["null", "number"],
        minimum=0,
        title="Maximum cost of a job, in US dollars",
        description_md="No job is made if the upper end of its estimate is higher. For a distillation, the estimate "
        "includes the teacher's answers. Empty: no limit.",
        section="Cost",
    )


def dry_run_param(
    description: str = "Make no job. The log of `customize` shows what the run would do and cost.",
) -> Param:
    """Return the Param for the argument ``dry_run`` of the customization operator."""
    return Param(False, type="boolean", title="Dry run", description_md=description, section="Cost")
