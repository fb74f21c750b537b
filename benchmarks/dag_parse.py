"""How long Airflow takes to parse a DAG of one customization task: with our operator and with upstream's."""

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
WAYS = {
    "on-its-own": "Parsing a DAG file in a new process",
    "in-a-fork": "Parsing a DAG file again, in a fork of the DAG processor",
}


def main(rounds: int) -> None:
    """Compare the two ways of parsing and report."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, f"{name}.py") for name in OPERATORS}
        for name, (module, operator) in OPERATORS.items():
            files[name].write_text(DAG.format(module=module, operator=operator))
        comparisons = []
        for way, question in WAYS.items():
            ours, upstream = (Subject(name, "parse_dag.py", (way, str(file))) for name, file in files.items())
            comparisons.append(compare(question, ours, upstream, rounds))
        report("dag_parse", comparisons)
