"""CountTokens: how many tokens of a request would be billed, without asking the model."""

from __future__ import annotations

from typing import Any

from airflow_bedrock.local.catalog import askable, check_alive
from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.inference import converse_question
from airflow_bedrock.local.work.invoke_bodies import form_of, read_body, read_question


def count_tokens(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Count the tokens of a Converse or InvokeModel request, as its answer would.

    AWS counts for Claude under its plain id alone, and refuses other models and inference profiles.
    """
    model_id, wanted = request["modelId"], request["input"]
    if not model_id.startswith("anthropic."):
        raise invalid("The provided model doesn't support counting tokens.")
    check_alive(askable(bedrock.region, model_id), bedrock.today)
    if "converse" in wanted:
        return {"inputTokens": converse_question(wanted["converse"]).tokens}
    body = read_body(wanted["invokeModel"]["body"])
    return {"inputTokens": read_question(form_of(model_id), body).tokens}
