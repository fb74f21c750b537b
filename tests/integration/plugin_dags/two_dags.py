"""Two DAGs that push what the operators of this package push, for the test of the views."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_bedrock import shown

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/"
PHASE = {"name": "training", "status": "Completed", "started": "2026-01-01T00:00:00+00:00"}


def job(dag_id: str, number: int) -> dict[str, Any]:
    return {
        "job_arn": f"{ARN}{dag_id}{number}",
        "job_name": f"{dag_id}-job-{number}<script>alert(1)</script>",
        "status": "InProgress" if number == 1 else "Completed",
        "created": "2026-01-01T00:00:00+00:00",
        "phases": [{**PHASE, "changed": "2026-01-01T01:00:00+00:00"}],
        "asked": {"hyperparameters": {"epochCount": str(number)}, "training_data": {"s3Uri": "s3://bucket/train"}},
        "failure_message": None,
        "budget": {"month": "2026-01", "settled": 12.5, "reserved": 1.5, "limit": 100.0},
    }


def dag_of(dag_id: str) -> DAG:
    """A DAG that pushes what the operators of this package push: asked by one task, waited for by another."""
    with DAG(dag_id, schedule=None) as dag:

        @task
        def train(dag_run: Any = None, ti: Any = None) -> None:
            number = int(dag_run.conf["number"])
            ti.xcom_push(shown.JOB, job(dag_id, number))

        @task
        def sweep(point: int, ti: Any = None) -> None:
            ti.xcom_push(shown.JOB, job(f"{dag_id}-point", 10 + point))

        @task
        def broken(ti: Any = None) -> None:
            ti.xcom_push(shown.JOB, {"job_arn": ["no text"], "phases": 7})
            ti.xcom_push(shown.PROMOTION, {"name": "no model"})
            ti.xcom_push(shown.EVALUATION, "better")

        @task
        def wait(dag_run: Any = None, ti: Any = None) -> None:
            number = int(dag_run.conf["number"])
            if number > 1:
                losses = {
                    "losses_by_step": [(1, 2.5), (2, 1.25)],  # as the tasks have them
                    "losses_by_epoch": [{"epoch": 1, "training_loss": 1.75, "validation_loss": 1.5}],
                }
                model = {"custom_model_arn": f"arn:{dag_id}:custom-model/{number}", "training_loss": 1.25}
                bill = {"bill": {"usd": 1.5, "basis": "2 epochs"}, "local_page": f"http://127.0.0.1/_local/#{number}"}
                shown.push({"ti": ti}, shown.JOB, {**job(dag_id, number), "asked": {}, **losses, **model, **bill})
            model_arn = f"arn:{dag_id}:custom-model/{number}"
            scores = {"candidate": {"model": model_arn, "value": 0.75}, "baseline": {"value": 0.5}}
            report = {"report_page": f"http://127.0.0.1/_local/objects/{number}/report.html"}
            ti.xcom_push(shown.EVALUATION, {"verdict": "better", "metric": "accuracy", "models": scores, **report})
            promoted = {"name": f"{dag_id}-line", "model_arn": model_arn}
            ti.xcom_push(shown.PROMOTION, {**promoted, "approved_by": "ada"})
            of = {"name": f"{dag_id}-line", "region": "us-east-1", "why": "not called for 14 days", "usd_a_month": 1.95}
            unused = [{**of, "kind": "deployment", "arn": f"arn:{dag_id}"}]
            ti.xcom_push(shown.IDLE, {"usd_a_month": 1.95, "idle": unused})

        train() >> wait()
        sweep.expand(point=[1, 2])
        broken()
    return dag


retrain, secret = dag_of("retrain"), dag_of("secret")
