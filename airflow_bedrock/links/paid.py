"""The link to what a task has asked for, of any kind: throughput, a copy, an import, a custom model, a batch job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from airflow_bedrock.customization.console import local_page, resource_url

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class PaidResourceLink(BaseOperatorLink):
    """Its page in the AWS console, from the moment it exists; on Local Bedrock its line on the one page there is."""

    name = "Bedrock resource"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty while nothing was made."""
        arn = XCom.get_value(ti_key=ti_key, key="arn") or _last_job(XCom.get_value(ti_key=ti_key, key="return_value"))
        hook: Any = getattr(operator, "hook", None)
        if not arn or hook is None:
            return ""
        return local_page(hook.conn.meta.endpoint_url, arn) or resource_url(arn)


def _last_job(returned: Any) -> str | None:
    """Return the last of the jobs that a task has returned, which made several."""
    arns = returned.get("job_arns") if isinstance(returned, Mapping) else None
    return str(arns[-1]) if arns else None
