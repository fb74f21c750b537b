"""Links from a task in Airflow's UI to its job, model, data and report, and to other resources that it made.

Airflow asks for them when a try of a task ends, and when it is deferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from airflow_bedrock import customization

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class _JobLink(BaseOperatorLink):
    """A page about the job that the task requested or waited for, or that made the model it uses.

    Airflow makes all links of a task in a row, when it is deferred and when it ends, and each time with another key.
    """

    last: ClassVar[tuple[TaskInstanceKey | None, Mapping[str, Any]]] = None, {}
    """The task whose link was made last, and the facts about its job, which are read once for all of its links."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty while there is no page. Local Bedrock has one page for everything."""
        if _JobLink.last[0] is not ti_key:
            keys = {
                task.task_id: getattr(task.operator_class, "job_key", None)  # of a mapped task, too
                for task in operator.get_flat_relatives(upstream=True)
            }
            model = getattr(operator, "model_arn", None)  # of operators that use a model
            model = model if isinstance(model, str) else None  # otherwise it was not rendered, and the task has failed
            _JobLink.last = ti_key, _known(ti_key, getattr(operator, "job_key", None), keys, model)
        known = _JobLink.last[1]
        page = self._page(known)
        hook: Any = getattr(operator, "hook", None)
        if not page or hook is None:
            return page
        return customization.console.local_page(hook.conn.meta.endpoint_url, known.get("job_arn")) or page

    def _page(self, known: Mapping[str, Any]) -> str:
        raise NotImplementedError


class CustomizationJobLink(_JobLink):
    """The job in the AWS console, from the moment it exists."""

    name = "Bedrock job"

    def _page(self, known: Mapping[str, Any]) -> str:
        return customization.console.resource_url(known["job_arn"]) if known.get("job_arn") else ""


class CustomModelLink(_JobLink):
    """The custom model in the AWS console; before the model exists, the page of its job."""

    name = "Custom model"

    def _page(self, known: Mapping[str, Any]) -> str:
        arn = known.get("custom_model_arn") or known.get("job_arn")
        return customization.console.resource_url(arn) if arn else ""


class OutputDataLink(_JobLink):
    """The folder of the job's metrics files in the AWS console."""

    name = "Output in S3"

    def _page(self, known: Mapping[str, Any]) -> str:
        uri = known.get("artifacts_uri")
        return customization.console.s3_url(uri, known["job_arn"]) if uri else ""


class TrainingDataLink(_JobLink):
    """The training data in the AWS console."""

    name = "Training data in S3"

    def _page(self, known: Mapping[str, Any]) -> str:
        uri = ((known.get("asked") or {}).get("training_data") or {}).get("s3Uri")
        return customization.console.s3_url(uri, known["job_arn"]) if uri else ""


JOB_LINKS = (CustomizationJobLink(), CustomModelLink(), OutputDataLink(), TrainingDataLink())
"""The links to a job, the same on each of its tasks."""


class PaidResourceLink(BaseOperatorLink):
    """Another resource that the task requested, in the AWS console, from the moment it exists."""

    name = "Bedrock resource"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty while nothing was made. On Local Bedrock it is a line of its page."""
        key = getattr(operator, "arn_key", None) or "return_value"
        arn = _last_job(XCom.get_value(ti_key=ti_key, key=key))
        hook: Any = getattr(operator, "hook", None)
        if not arn or hook is None:
            return ""
        page = customization.console.local_page(hook.conn.meta.endpoint_url, arn)
        return page or customization.console.resource_url(arn)


class EvaluationReportLink(BaseOperatorLink):
    """The report, in the AWS console, for people with access to the bucket; on Local Bedrock the file itself.

    It is on the task that made the report, and on those that use it.
    """

    name = "Evaluation report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty if there is no report, or the report is not on S3."""
        used = [getattr(operator, name) for name in ("report_uri", "evaluation") if hasattr(operator, name)]
        uri = _beside(str(used[0])) if used else XCom.get_value(ti_key=ti_key, key="report_html_uri")
        hook: Any = getattr(operator, "hook", None)
        if not uri or hook is None:
            return ""
        return customization.console.object_page(hook.conn.meta.endpoint_url, uri, hook.conn_region_name)


def _known(
    ti_key: TaskInstanceKey, own_key: str | None, upstream: Mapping[str, str | None], model: str | None
) -> Mapping[str, Any]:
    """Return what the run's tasks have pushed about the task's own job, the job of the model, or their only job.

    :param own_key: the key of the task's XCom about its own job; None if it has none.
    :param upstream: the same of the tasks before it, by their ids.
    """
    from airflow_bedrock.shown import JOB

    own = (XCom.get_value(ti_key=ti_key, key=own_key) if own_key else None) or {}
    if own.get("asked"):  # only the operator knows it
        return own
    jobs: dict[str, dict[str, Any]] = {}
    for name in sorted(task for task, key in upstream.items() if key == JOB):
        values = XCom.get_all(key=JOB, dag_id=ti_key.dag_id, task_id=name, run_id=ti_key.run_id) or ()
        for value in values:
            known = {member: one for member, one in value.items() if one}
            jobs.setdefault(value["job_arn"], {}).update(known)
    if own:
        return {**jobs.get(own.get("job_arn", ""), {}), **{member: one for member, one in own.items() if one}}
    if model:
        made = (job for job in jobs.values() if job.get("custom_model_arn") == model)
        return next(made, {"custom_model_arn": model})
    return next(iter(jobs.values())) if len(jobs) == 1 else {}


def _last_job(pushed: Any) -> str | None:
    """Return the ARN that a task pushed, or the last of several jobs."""
    arns = pushed.get("job_arns") if isinstance(pushed, Mapping) else [pushed]
    return arns[-1] if arns else None


def _beside(uri: str) -> str:
    """Return the HTML page beside ``report.json``; empty for another URI."""
    return uri.removesuffix("json") + "html" if uri.endswith("/report.json") else ""
