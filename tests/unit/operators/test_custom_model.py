"""The operator that deletes a custom model, against botocore's stubbed client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG
from botocore.stub import Stubber

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.import_job import BedrockDeleteCustomModelOperator


@pytest.fixture
def operator() -> Iterator[BedrockDeleteCustomModelOperator]:
    operator = BedrockDeleteCustomModelOperator(
        task_id="delete", model_identifier="router-model", aws_conn_id=None, region_name="us-east-1"
    )
    yield operator
    operator.hook.conn.close()


@pytest.fixture
def stub(operator: BedrockDeleteCustomModelOperator) -> Iterator[Stubber]:
    with Stubber(operator.hook.conn) as stub:
        yield stub
        stub.assert_no_pending_responses()


def test_delete(operator: Any, stub: Stubber) -> None:
    """The model is deleted by its name or ARN."""
    stub.add_response("delete_custom_model", {}, {"modelIdentifier": "router-model"})
    operator.execute({})


def test_nothing_to_delete(operator: Any, stub: Stubber) -> None:
    """A model that is not there is deleted already."""
    stub.add_client_error("delete_custom_model", "ResourceNotFoundException", http_status_code=404)
    operator.execute({})


@pytest.mark.parametrize(
    ("code", "status", "fatal"), [("ConflictException", 400, True), ("InternalServerException", 500, False)]
)
def test_refused(operator: Any, stub: Stubber, code: str, status: int, fatal: bool) -> None:
    """The error says that the model is still billed; its type, whether another try can help."""
    stub.add_client_error("delete_custom_model", code, "in use", status)
    with pytest.raises(BedrockError, match=r"router-model was not deleted.*still billed.*in use") as caught:
        operator.execute({})
    assert isinstance(caught.value, BedrockFatalError) is fatal


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        (None, "model_identifier must be the ARN or the name of a custom model; got None"),
        ("", "model_identifier .*; got ''"),
        ("None", "model_identifier must have a value: a template that finds nothing renders None"),
        ("bad name!", "model_identifier .*; got 'bad name!'"),
    ],
)
def test_what_names_no_model(operator: Any, stub: Stubber, identifier: Any, message: str) -> None:
    """It is not taken for a model that is gone: the real one would stay, and be billed. No call is made."""
    with pytest.raises(ValueError, match=message):
        BedrockDeleteCustomModelOperator(task_id="delete", model_identifier=identifier)
    operator.model_identifier = identifier  # as Airflow does when it has rendered a template
    with pytest.raises(BedrockFatalError, match=message):
        operator.execute({})


def test_a_template_waits_for_the_task() -> None:
    """What is not known when the DAG is parsed is not judged then."""
    later: Any = "{{ params.model }}"
    with DAG("dag"):
        earlier = BedrockDeleteCustomModelOperator(task_id="earlier", model_identifier=later)
        later = earlier.output
        BedrockDeleteCustomModelOperator(task_id="later", model_identifier=later)
