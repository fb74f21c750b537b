"""How the loop sorts what goes wrong with a look."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ParamValidationError

from airflow_bedrock.jobs.planner import Ask, GetJob, ListJobs, Trouble
from airflow_bedrock.jobs.poll_loop import trouble_of

LIST, GET = ListJobs(None), GetJob("job")


def refused(code: str, status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": "for the test"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")  # type: ignore[arg-type]  # as botocore makes it


@pytest.mark.parametrize(
    ("error", "by_list", "by_get"),
    [
        (refused("AccessDeniedException", 403), Trouble.REFUSED, Trouble.REFUSED),
        (refused("ValidationException"), Trouble.REFUSED, Trouble.REFUSED),
        (ParamValidationError(report="wrong"), Trouble.REFUSED, Trouble.REFUSED),
        (refused("UnknownOperationException", 404), Trouble.REFUSED, Trouble.NO_ANSWER),
        (refused("ResourceNotFoundException", 404), Trouble.MISSING, Trouble.MISSING),
        (refused("ThrottlingException", 429), Trouble.THROTTLED, Trouble.THROTTLED),
        (refused("Strange", 429), Trouble.THROTTLED, Trouble.THROTTLED),
        (refused("InternalServerException", 500), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (refused("AccessDeniedException", 503), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (refused("ExpiredTokenException", 403), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (refused("UnrecognizedClientException", 403), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (NoCredentialsError(), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (EndpointConnectionError(endpoint_url="u"), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (ValueError("an answer that is no JSON"), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
    ],
    ids=lambda value: value.name if isinstance(value, Trouble) else str(value)[:60],
)
def test_only_what_is_plainly_about_the_question_is_a_refusal(
    error: Exception, by_list: Trouble, by_get: Trouble
) -> None:
    """A refused List costs an hour of Gets; a refused Get ends a wait."""
    looks: list[tuple[Ask, Trouble]] = [(LIST, by_list), (GET, by_get)]
    assert [trouble_of(error, ask) for ask, _ in looks] == [trouble for _, trouble in looks]
