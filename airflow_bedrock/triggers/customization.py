"""The trigger that waits for a model customization job."""

from __future__ import annotations

from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.triggers.resource import ResourceTrigger


class BedrockModelCustomizationTrigger(ResourceTrigger):
    """Wait until a model customization job has ended; arguments and event are those of the base."""

    resource = CUSTOMIZATION_JOB
