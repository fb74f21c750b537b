"""How long Airflow's DAG processor takes to parse a DAG of one task: with our operator and with upstream's."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.harness import Subject, compare, report

DAG = """
from airflow.sdk import DAG
from {module} import {operator} as Operator

with DAG("customize"):
    Operator(
        task_id="customize",
        job_name="router",
        custom_model_name="router",
        role_arn="arn:aws:iam::123456789012:role/Bedrock",
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri="s3://bucket/train.jsonl",
        output_data_uri="s3://bucket/output/",
        hyperparameters={{"epochCount": "2"}},
    )
"""
OPERATORS = {
    "airflow-bedrock": ("airflow_bedrock.operators", "BedrockModelCustomizationOperator"),
    "upstream": ("airflow.providers.amazon.aws.operators.bedrock", "BedrockCustomizeModelOperator"),
}
QUESTION = "Parsing a DAG file in the DAG processor's fork"


def main(rounds: int) -> None:
    """Compare the two operators and report."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = []
        for name, (module, operator) in OPERATORS.items():
            file = Path(folder, f"{name}.py")
            file.write_text(DAG.format(module=module, operator=operator))
            subjects.append(Subject(name, "parse_dag.py", (str(file),)))
        ours, upstream = subjects
        report("dag_parse", [compare(QUESTION, ours, upstream, rounds)])
