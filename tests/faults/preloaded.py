"""What each worker needs, loaded once, in the process that forks them: imports, and the files that botocore reads."""

from __future__ import annotations

import functools

import airflow.providers.amazon.aws.operators.bedrock  # noqa: F401 - a fork has what is here
import boto3
from botocore.loaders import JSONFileLoader

import airflow_bedrock.jobs.quota
import airflow_bedrock.jobs.submission
import airflow_bedrock.jobs.waiting
import airflow_bedrock.operators.customization
import airflow_bedrock.triggers.customization  # noqa: F401

JSONFileLoader.load_file = functools.cache(JSONFileLoader.load_file)  # type: ignore[method-assign]  # each session reads it all anew
for service in ("bedrock", "s3", "sts"):
    boto3.session.Session("a", "b", region_name="us-east-1").client(service).close()
