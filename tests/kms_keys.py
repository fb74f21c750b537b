"""KMS keys for tests, in whichever account and region a model is to be encrypted."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import boto3

from airflow_bedrock.local import LocalBedrock


def kms(local: LocalBedrock, region: str = "us-east-1", account: str = "123456789012") -> Any:
    """Return a client of KMS in an account; close it."""
    with closing(local.client("sts")) as sts:
        role = f"arn:aws:iam::{account}:role/root"
        key = sts.assume_role(RoleArn=role, RoleSessionName="root")["Credentials"]
    session = boto3.session.Session(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"], region)
    return session.client("kms", endpoint_url=local.endpoint_url)


def make_key(local: LocalBedrock, alias: str = "", **place: str) -> str:
    """Make a KMS key, and return its ARN."""
    with closing(kms(local, **place)) as client:
        key: dict[str, str] = client.create_key()["KeyMetadata"]
        if alias:
            client.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    return key["Arn"]
