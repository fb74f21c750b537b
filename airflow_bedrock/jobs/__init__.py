"""The engine: it finds or creates, waits for and stops every paid resource.

The operators reach its modules through this package, which imports each on first use: they load boto3, and Airflow
imports the operators whenever it parses a DAG file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

if TYPE_CHECKING:
    from airflow_bedrock import aws_errors as aws_errors
    from airflow_bedrock import shown as shown
    from airflow_bedrock import uris as uris
    from airflow_bedrock.jobs import account as account
    from airflow_bedrock.jobs import connection as connection
    from airflow_bedrock.jobs import earlier_jobs as earlier_jobs
    from airflow_bedrock.jobs import no_response as no_response
    from airflow_bedrock.jobs import on_kill as on_kill
    from airflow_bedrock.jobs import orphans as orphans
    from airflow_bedrock.jobs import own_jobs as own_jobs
    from airflow_bedrock.jobs import quota as quota
    from airflow_bedrock.jobs import request_note as request_note
    from airflow_bedrock.jobs import resources as resources
    from airflow_bedrock.jobs import s3 as s3
    from airflow_bedrock.jobs import service as service
    from airflow_bedrock.jobs import sharing as sharing
    from airflow_bedrock.jobs import stopping as stopping
    from airflow_bedrock.jobs import submission as submission
    from airflow_bedrock.jobs import task_state as task_state
    from airflow_bedrock.jobs import waiting as waiting
    from airflow_bedrock.jobs.resources import created_model as created_model
    from airflow_bedrock.jobs.resources import customization_job as customization_job
    from airflow_bedrock.jobs.resources import deployment as deployment
    from airflow_bedrock.jobs.resources import invocation_job as invocation_job
    from airflow_bedrock.jobs.resources import provisioned_throughput as provisioned_throughput
else:
    __getattr__ = lazy_modules(__name__, f"{__name__}.resources", "airflow_bedrock")
