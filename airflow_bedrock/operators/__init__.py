"""Operators for Amazon Bedrock model customization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_exports

__all__ = [
    "BedrockBatchAnswersOperator",
    "BedrockCustomModelDeploymentOperator",
    "BedrockCustomModelOperator",
    "BedrockDatasetCheckOperator",
    "BedrockDatasetPreparationOperator",
    "BedrockDeleteCustomModelDeploymentOperator",
    "BedrockDeleteCustomModelOperator",
    "BedrockDeleteProvisionedModelThroughputOperator",
    "BedrockIdleCostOperator",
    "BedrockModelCopyOperator",
    "BedrockModelCustomizationOperator",
    "BedrockModelEvaluationOperator",
    "BedrockModelImportOperator",
    "BedrockPromoteModelOperator",
    "BedrockPromotionGate",
    "BedrockProvisionedModelThroughputOperator",
    "BedrockRetireModelsOperator",
    "BedrockStopOrphanedJobsOperator",
]

if TYPE_CHECKING:
    from airflow_bedrock.operators.batch_answers import BedrockBatchAnswersOperator
    from airflow_bedrock.operators.copy_job import BedrockModelCopyOperator
    from airflow_bedrock.operators.customization import BedrockModelCustomizationOperator
    from airflow_bedrock.operators.dataset import BedrockDatasetPreparationOperator
    from airflow_bedrock.operators.dataset_check import BedrockDatasetCheckOperator
    from airflow_bedrock.operators.deployment import (
        BedrockCustomModelDeploymentOperator,
        BedrockDeleteCustomModelDeploymentOperator,
    )
    from airflow_bedrock.operators.evaluation import BedrockModelEvaluationOperator
    from airflow_bedrock.operators.idle_cost import BedrockIdleCostOperator
    from airflow_bedrock.operators.import_job import (
        BedrockCustomModelOperator,
        BedrockDeleteCustomModelOperator,
        BedrockModelImportOperator,
    )
    from airflow_bedrock.operators.orphans import BedrockStopOrphanedJobsOperator
    from airflow_bedrock.operators.promotion import BedrockPromoteModelOperator
    from airflow_bedrock.operators.promotion_gate import BedrockPromotionGate
    from airflow_bedrock.operators.provisioned_throughput import (
        BedrockDeleteProvisionedModelThroughputOperator,
        BedrockProvisionedModelThroughputOperator,
    )
    from airflow_bedrock.operators.retirement import BedrockRetireModelsOperator
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "BedrockBatchAnswersOperator": ".batch_answers",
            "BedrockCustomModelDeploymentOperator": ".deployment",
            "BedrockCustomModelOperator": ".import_job",
            "BedrockDatasetCheckOperator": ".dataset_check",
            "BedrockDatasetPreparationOperator": ".dataset",
            "BedrockDeleteCustomModelDeploymentOperator": ".deployment",
            "BedrockDeleteCustomModelOperator": ".import_job",
            "BedrockDeleteProvisionedModelThroughputOperator": ".provisioned_throughput",
            "BedrockIdleCostOperator": ".idle_cost",
            "BedrockModelCopyOperator": ".copy_job",
            "BedrockModelCustomizationOperator": ".customization",
            "BedrockModelEvaluationOperator": ".evaluation",
            "BedrockModelImportOperator": ".import_job",
            "BedrockPromoteModelOperator": ".promotion",
            "BedrockPromotionGate": ".promotion_gate",
            "BedrockProvisionedModelThroughputOperator": ".provisioned_throughput",
            "BedrockRetireModelsOperator": ".retirement",
            "BedrockStopOrphanedJobsOperator": ".orphans",
        },
    )
