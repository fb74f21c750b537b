"""Local Bedrock: an offline service that boto3, the AWS CLI and Airflow use over HTTP exactly like AWS."""

from __future__ import annotations

from airflow_bedrock.local.service import LocalBedrock

__all__ = ["LocalBedrock"]
