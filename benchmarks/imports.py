"""What importing the operator costs, against upstream's: a DAG file pays it at each parse, a task at each start."""

from __future__ import annotations

from benchmarks.harness import Subject, compare, report

OURS = Subject(
    "airflow-bedrock", "import_operator.py", ("airflow_bedrock.operators", "BedrockModelCustomizationOperator")
)
UPSTREAM = Subject(
    "upstream",
    "import_operator.py",
    ("airflow.providers.amazon.aws.operators.bedrock", "BedrockCustomizeModelOperator"),
)


def main(rounds: int) -> None:
    """Compare the imports and report."""
    report("imports", [compare("Importing the customization operator", OURS, UPSTREAM, rounds)])
