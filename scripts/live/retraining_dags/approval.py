"""Two gates that ask one person: one waits for her, one for a few seconds only."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_bedrock.operators import BedrockPromotionGate

REPORT = "s3://{{ var.value.bedrock_bucket }}/approval/report.json"

with DAG("approval", schedule=None):
    for name, seconds in (("ann_decides", 3600), ("nobody_in_time", 5)):
        BedrockPromotionGate(
            task_id=name, report_uri=REPORT, ask_approval=True, approvers=["ann"], approval_timeout=seconds
        )
