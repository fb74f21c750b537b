"""What each worker needs, loaded once, in the process that forks them: imports, and the files that botocore reads."""

from __future__ import annotations

import gc

import airflow.providers.amazon.aws.operators.bedrock  # noqa: F401 - a fork has what is here
import boto3

import airflow_bedrock.jobs.quota
import airflow_bedrock.jobs.submission
import airflow_bedrock.jobs.waiting
import airflow_bedrock.operators.customization
import airflow_bedrock.triggers.customization  # noqa: F401
from tests.cheap_clients import make_clients_cheap

make_clients_cheap()
for service in ("bedrock", "s3", "sts"):
    boto3.session.Session("a", "b", region_name="us-east-1").client(service).close()
gc.freeze()  # it is no worker's garbage
