"""The link to an evaluation's report, on the task that has made it and on those that decide by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from airflow_bedrock.customization.console import object_page

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class EvaluationReportLink(BaseOperatorLink):
    """The report, in the AWS console, which opens it for who may read the bucket; on Local Bedrock the file itself."""

    name = "Evaluation report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty while there is no report, and for one that is not on S3."""
        given = getattr(operator, "report_uri", None) or getattr(operator, "evaluation", None)  # of those that decide
        uri = XCom.get_value(ti_key=ti_key, key="report_html_uri") or _beside(str(given))
        hook: Any = getattr(operator, "hook", None)
        if not uri or hook is None:
            return ""
        region = XCom.get_value(ti_key=ti_key, key="region_name") or hook.conn_region_name
        return object_page(hook.conn.meta.endpoint_url, uri, region)


def _beside(uri: str) -> str:
    """Return the HTML page beside ``report.json``; empty for another URI."""
    return uri.removesuffix("json") + "html" if uri.endswith("/report.json") else ""
