"""The views in Airflow's UI beside a REST API that is a model of Airflow's: how much they ask for, and when."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import httpx
import pytest
from airflow import __version__ as airflow_version
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tests.job_server import Fault, JobServer

pytestmark = pytest.mark.skipif(Version(airflow_version) < Version("3.1"), reason="Airflow < 3.1 has no views")
ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class FakeAirflow:
    """Runs of one DAG, each with its jobs, in the form of Airflow's REST API; it counts its calls.

    :param jobs: how many mapped jobs each run has; 1: one that is not mapped.
    """

    def __init__(self, jobs: list[int]) -> None:
        self.runs: list[dict[str, Any]] = [
            {"dag_id": "retrain", "dag_run_id": f"run {number}", "run_after": _at(number)}
            for number in range(len(jobs))
        ]
        self.entries = [
            _entry(run, task, index, _at(number))
            for number, (run, size) in enumerate(zip(self.runs, jobs, strict=True))
            for index in ([-1] if size == 1 else range(size))
            for task in ("train", "wait")
        ]
        self.more: dict[str, Any] = {}
        self.running: set[str] = set()  # ids of tasks
        self.status = 200
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @asynccontextmanager
    async def client(self, root_path: str = "") -> AsyncIterator[httpx.AsyncClient]:
        """Yield a browser of an API server that has the views and these runs."""
        from airflow_bedrock.plugin import Views

        xcoms = "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries"
        app = Starlette(
            routes=[
                Route("/api/v2/dags/{dag}/dagRuns", self._runs),
                Route("/api/v2/dags/~/dagRuns/~/taskInstances/list", self._instances, methods=["POST"]),
                Route(xcoms, self._entries),
                Route(xcoms + "/{key}", self._value),
                Mount("/bedrock", Views()),
            ]
        )
        transport = httpx.ASGITransport(app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow", timeout=60) as client:
            yield client

    async def _runs(self, request: Request) -> JSONResponse:
        await self.may_answer.wait()
        if self.status != 200:
            return JSONResponse({}, self.status)
        return self._page(request, "dag_runs", sorted(self.runs, key=lambda run: run["run_after"], reverse=True))

    async def _entries(self, request: Request) -> JSONResponse:
        asked = request.query_params
        first, last = asked.get("run_after_gte", ""), asked.get("run_after_lte", "9")
        found = [
            one
            for one in self.entries
            if one["key"] == asked["xcom_key"]
            and first <= one["run_after"] <= last
            and request.path_params["run"] in ("~", one["run_id"])
        ]
        return self._page(request, "xcom_entries", found)

    async def _value(self, request: Request) -> JSONResponse:
        self.asked.append("value")
        number, index = request.path_params["run"].removeprefix("run "), request.query_params["map_index"]
        arn = f"{ARN}{number}{'abcdefghijklm'[int(index) + 1]}"
        value = {"job_arn": arn, "job_name": f"job-{number}[{index}]", "status": "Completed"}
        return JSONResponse({"value": value | self.more})

    async def _instances(self, request: Request) -> JSONResponse:
        self.asked.append("task instances")
        body = await request.json()
        found = [
            {**one, "dag_run_id": one["run_id"]}
            for one in self.entries
            if one["task_id"] in self.running
            and (one["dag_id"], one["run_id"], one["task_id"])
            in product(body["dag_ids"], body["dag_run_ids"], body["task_ids"])
        ]
        return JSONResponse({"task_instances": found})

    def _page(self, request: Request, name: str, found: list[Any]) -> JSONResponse:
        self.asked.append(name)
        offset, limit = (int(request.query_params[one]) for one in ("offset", "limit"))
        return JSONResponse({name: found[offset : offset + limit], "total_entries": len(found)})


def _at(number: int) -> str:
    return (BEGIN + timedelta(hours=number)).isoformat()


def _entry(run: dict[str, str], task: str, index: int, at: str) -> dict[str, Any]:
    of = {"dag_id": run["dag_id"], "run_id": run["dag_run_id"], "task_id": task, "map_index": index}
    return {**of, "key": "bedrock_job", "timestamp": at, "run_after": at}


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    from airflow_bedrock.plugin.airflow_api import AirflowApi

    AirflowApi._values.clear()  # of another test, whose entries look the same


def shown(page: str) -> list[str]:
    return re.findall(r"Compare (job-\S+?)\"", page)


def earlier(page: str) -> str | None:
    found = re.search(r'name="from" value="([\d.]+)">Earlier', page)
    return found and found[1]


def test_a_page_of_a_thousand_jobs_asks_for_its_own_rows_alone() -> None:
    """Fifteen rows cost 34 requests, however many jobs there are."""
    airflow = FakeAirflow([1] * 1000)

    async def look() -> str:
        async with airflow.client() as client:
            return (await client.get("/bedrock/jobs?dag_id=retrain")).raise_for_status().text

    assert shown(asyncio.run(look())) == [f"job-{number}[-1]" for number in range(999, 984, -1)]
    assert airflow.asked.count("value") == 30
    assert len(airflow.asked) == 34


def test_the_pages_show_each_job_once_and_sweeps_fill_several() -> None:
    """Runs without a job are passed over."""
    airflow = FakeAirflow([1, 12, 0, 1, 12, *([0] * 60), 12, 1, *([0] * 30)])

    async def walk() -> list[str]:
        found: list[str] = []
        async with airflow.client() as client:
            at: str | None = "0.0"
            while at:
                page = (await client.get("/bedrock/jobs", params={"dag_id": "retrain", "from": at})).text
                found += shown(page)
                at = earlier(page)
        return found

    found = asyncio.run(walk())
    assert len(found) == len(set(found)) == 3 + 3 * 12
    assert found[:3] == ["job-66[-1]", "job-65[0]", "job-65[1]"]


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8), most=st.integers(1, 7))
@settings(max_examples=60)
def test_each_task_instance_is_on_one_page(sizes: list[int], most: int) -> None:
    """However many map indexes the runs have."""
    from airflow_bedrock.plugin.airflow_api import Entry, Run
    from airflow_bedrock.plugin.rows import Place, page_of

    airflow = FakeAirflow(sizes)
    runs = [Run(*run.values()) for run in airflow.runs]
    entries = [Entry(**one) for one in airflow.entries]
    found: list[Entry] = []
    place = Place()
    while place.runs < len(runs):
        of = runs[place.runs :]
        taken, following = page_of(
            [one for one in entries if one.run_id in {run.run_id for run in of}], of, place, most
        )
        assert following > place
        assert len({one.task_instance for one in taken if one.task_id == "train"}) <= most
        found += taken
        place = following
    assert len(found) == len(set(found)) == len(entries)


def test_a_row_says_the_period_of_its_run() -> None:
    """Its partition, or the day on which its data begins, or on which it was due."""
    airflow = FakeAirflow([1] * 3)
    airflow.runs[0] |= {"partition_key": "2012", "data_interval_start": None}
    airflow.runs[1] |= {"partition_key": None, "data_interval_start": "2013-02-01T00:00:00Z"}

    async def look() -> str:
        async with airflow.client() as client:
            return (await client.get("/bedrock/jobs?dag_id=retrain")).raise_for_status().text

    periods = re.findall(r'<th scope="row">(\S+)<br>', asyncio.run(look()))
    assert periods == ["2026-01-01", "2013-02-01", "2012"]


def test_two_jobs_of_different_pages_are_compared() -> None:
    """A job that was chosen stays chosen on the next page."""
    airflow = FakeAirflow([1] * 60)

    async def look() -> str:
        async with airflow.client() as client:
            job = f"{ARN}59a -1 run 59"
            page = (await client.get("/bedrock/jobs", params={"dag_id": "retrain", "from": "15.0", "job": job})).text
            assert f'type="hidden" name="job" value="{job}"' in page
            chosen = re.findall(r'name="job" value="([^"]+)"', page)[:2]
            asked = [("dag_id", "retrain"), ("compare", "1"), *(("job", one) for one in chosen)]
            return (await client.get("/bedrock/jobs", params=asked)).text

    page = asyncio.run(look())
    assert "What differs" in page
    assert "job-59[-1]" in page
    assert "job-44[-1]" in page


def test_a_mapped_task_shows_each_of_its_jobs() -> None:
    """The page of an index names its job."""
    airflow = FakeAirflow([12])

    async def look(index: int) -> str:
        asked: dict[str, str | int] = {"dag_id": "retrain", "run_id": "run 0", "task_id": "train", "map_index": index}
        async with airflow.client() as client:
            return (await client.get("/bedrock/job", params=asked)).text

    page = asyncio.run(look(7))
    assert "<h1>job-0[7]" in page
    linked = re.findall(r"run_id=run%200&amp;task_id=train&amp;map_index=(\d+)", page)
    assert linked == [str(index) for index in range(12)]
    assert 'map_index=7" aria-current="page"' in page
    assert airflow.asked.count("value") == 2
    assert "Choose one of the mapped tasks" in asyncio.run(look(-1))


@pytest.mark.parametrize("index", ["--1", "x", "", "9" * 5000])
def test_an_address_with_another_map_index_shows_the_task(index: str) -> None:
    """It is that of a task that is not mapped."""
    airflow = FakeAirflow([1])
    asked = {"dag_id": "retrain", "run_id": "run 0", "task_id": "train", "map_index": index}

    async def look() -> str:
        async with airflow.client() as client:
            return (await client.get("/bedrock/job", params=asked)).raise_for_status().text

    assert "<h1>job-0[-1]" in asyncio.run(look())


def test_a_time_without_a_zone_breaks_no_page() -> None:
    """It cannot be compared with the others: the job is not shown, as whatever has another shape."""
    airflow = FakeAirflow([1])
    airflow.more = {"phases": [{"name": "Training", "started": "2026-01-01T00:00:00", "changed": f"{BEGIN:%FT%TZ}"}]}

    async def look() -> str:
        async with airflow.client() as client:
            return (await client.get("/bedrock/job", params=ONE)).raise_for_status().text

    assert "train has no Bedrock job" in asyncio.run(look())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bedrock_evaluation", {"verdict": "better", "metric": "exact_match", "models": {}}),
        ("bedrock_evaluation", {"verdict": "better", "metric": "exact_match", "models": {"candidate": {"value": 1}}}),
        ("bedrock_job", {"losses_by_step": [(1, 1e308)]}),
        ("bedrock_job", {"losses_by_step": [(10**400, 1.0)]}),
    ],
)
def test_what_a_dag_pushes_breaks_no_page(key: str, value: dict[str, Any]) -> None:
    """The page of the models is everybody's, and anybody's DAG may push anything."""
    pushed: dict[str, dict[str, Any]] = {
        "bedrock_job": {"job_arn": f"{ARN}a", "status": "Completed"},
        "bedrock_promotion": {"name": "router", "model_arn": "arn:aws:bedrock:us-east-1:123456789012:custom-model/m/a"},
    }
    pushed[key] = pushed.get(key, {}) | value

    class Airflow(FakeAirflow):
        async def _value(self, request: Request) -> JSONResponse:
            return JSONResponse({"value": pushed[request.path_params["key"]]})

    airflow = Airflow([1])
    airflow.entries = [{**one, "key": name} for one in airflow.entries for name in pushed]

    async def look() -> None:
        async with airflow.client() as client:
            (await client.get("/bedrock/job", params=ONE)).raise_for_status()
            (await client.get("/bedrock/jobs?dag_id=retrain")).raise_for_status()
            assert "router" in (await client.get("/bedrock/models")).raise_for_status().text

    asyncio.run(look())


def test_a_slow_answer_keeps_no_other_request_waiting() -> None:
    """The views share a loop with Airflow's API server."""
    airflow = FakeAirflow([1] * 3)

    async def look() -> str:
        async with airflow.client() as client:
            airflow.may_answer.clear()
            slow = asyncio.create_task(client.get("/bedrock/jobs?dag_id=retrain"))
            for _ in range(3):  # of the views and of the server's own
                (await client.get("/bedrock/models")).raise_for_status()
                (await client.get("/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries?xcom_key=&offset=0&limit=1"))
            assert not slow.done()
            airflow.may_answer.set()
            return (await slow).text

    assert "job-2[-1]" in asyncio.run(look())


@pytest.mark.parametrize("place", ["x", "-1.0", "1.x", "9" * 30, "0.5", "7"])
def test_an_address_that_names_no_page_shows_one_all_the_same(place: str) -> None:
    """A link that is old or cut off is no error."""
    airflow = FakeAirflow([1] * 3)

    async def look() -> httpx.Response:
        async with airflow.client() as client:
            return await client.get("/bedrock/jobs", params={"dag_id": "retrain", "from": place})

    assert asyncio.run(look()).status_code == 200


@pytest.mark.parametrize("running", [True, False])
def test_a_job_runs_while_a_task_waits_for_it(running: bool) -> None:
    """Airflow says which task instances run; one that was cleared or has failed waits for nothing."""
    airflow = FakeAirflow([1])
    airflow.more = {"status": "InProgress"}
    airflow.running = {"wait"} if running else set()

    async def look() -> str:
        async with airflow.client() as client:
            return (await client.get("/bedrock/models")).raise_for_status().text

    assert ("job-0[-1]" in asyncio.run(look())) is running


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "Sign in to Airflow to see this."),
        (403, "Airflow does not let you see this. Ask an administrator"),
        (404, "This DAG, run or task does not exist"),
    ],
)
def test_where_airflow_refuses_the_page_says_what_to_do(status: int, said: str) -> None:
    """With Airflow's own status."""
    airflow = FakeAirflow([1])
    airflow.status = status

    async def look() -> httpx.Response:
        async with airflow.client() as client:
            return await client.get("/bedrock/jobs?dag_id=retrain")

    page = asyncio.run(look())
    assert page.status_code == status
    assert said in page.text


def test_a_line_of_models_says_what_its_storage_costs_and_whether_it_is_idle() -> None:
    """By the prices that count; what has no price is said to have none."""
    from airflow_bedrock.plugin.airflow_api import Entry
    from airflow_bedrock.plugin.rows import models
    from airflow_bedrock.prices import prices

    entry = Entry("dag", "run", "task", -1, "bedrock_promotion", "1", "1")
    arn = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.{}-v1:0/aaaaaaaaaaaa"
    lines = [
        {"name": "called", "model_arn": arn.format("nova-lite"), "deployment_arn": "arn:called"},
        {"name": "by-arn", "model_arn": arn.format("nova-micro"), "deployment_arn": "arn:by-arn"},
        {"name": "by-name", "model_arn": "no ARN"},
    ]
    why = {"why": "not called for 14 days"}
    unused = [
        {"kind": "deployment", "name": "other", "arn": "arn:by-arn", **why},
        {"kind": "deployment", "name": "by-name", "arn": "arn:deployment", **why},
        {"kind": "custom model", "name": "called", "arn": "arn:older", **why},
    ]
    found = models([(entry, line) for line in lines], [], [(entry, {"idle": unused})], prices())
    told = {one["name"]: (one["usd_a_month"], one["idle"]) for one in found}
    assert told == {"called": (1.95, None), "by-arn": (None, why["why"]), "by-name": (None, why["why"])}
    assert models([(entry, lines[0])], [], [], None)[0]["usd_a_month"] is None


def test_the_budget_is_the_one_that_a_task_saw_last() -> None:
    """Of the tasks that saw one."""
    from airflow_bedrock.plugin.airflow_api import Entry
    from airflow_bedrock.plugin.rows import FILTERS, budget

    def found(at: str, settled: float | None) -> tuple[Entry, dict[str, Any]]:
        standing = {"month": "2026-11", "settled": settled, "reserved": 2.5, "limit": 50.0} if settled else None
        return Entry("dag", "run", "task", -1, "bedrock_job", at, at), {"budget": standing}

    assert budget([found("3", None), found("2", 10.0), found("1", 5.0)]) == {
        "month": "2026-11",
        "settled": 10.0,
        "reserved": 2.5,
        "limit": 50.0,
        "as_of": "2",
    }
    assert budget([found("3", None)]) is None
    share: Any = FILTERS["share"]
    assert share({"settled": 10.0, "reserved": 2.5, "limit": 50.0}) == 25.0
    assert share({"settled": 10.0, "reserved": 2.5, "limit": None}) is None


def test_a_curve_begins_and_ends_at_the_ends_of_its_axes() -> None:
    """A loss that falls goes from the left at the top to the right at the bottom."""
    from airflow_bedrock.plugin.rows import losses

    chart = losses({"losses_by_step": [(1, 2.0), (2, 1.5), (3, 1.0)]})
    assert chart is not None
    assert (chart["steps"], chart["losses"]) == ((1, 3), (1.0, 2.0))
    assert chart["lines"] == {"training": "0.00,0.00 50.00,50.00 100.00,100.00", "validation": ""}


ONE: dict[str, str | int] = {"dag_id": "retrain", "run_id": "run 0", "task_id": "train", "map_index": -1}


def page_of_a_job(arn: str, status: str = "InProgress") -> str:
    """Return the page of a task whose job was last seen in that status."""
    from airflow_bedrock.plugin.airflow_api import AirflowApi

    AirflowApi._values.clear()  # of an earlier call, whose entry is the same
    airflow = FakeAirflow([1])
    airflow.more = {"job_arn": arn, "status": status}

    async def look() -> str:
        async with airflow.client() as client:
            return (await client.get("/bedrock/job", params=ONE)).raise_for_status().text

    return asyncio.run(look())


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option is on; its connection leads nowhere."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__LIVE_AWS_CONN_ID", "bedrock_live")
    monkeypatch.setenv(
        "AIRFLOW_CONN_BEDROCK_LIVE", '{"conn_type": "aws", "extra": {"endpoint_url": "http://127.0.0.1:1"}}'
    )


def test_a_running_job_is_read_live_only_with_the_option(live: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each view, while it runs; by default it is not."""
    with JobServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_BEDROCK_LIVE", server.connection())
        [job] = server.add(1)
        running = page_of_a_job(job.arn)
        assert "Current state, read from Amazon Bedrock." in running
        assert "data processing" in running
        server.end([job])
        ended = page_of_a_job(job.arn)
        assert '<span class="status status-Completed">' in ended
        assert "0.5000, -" in ended
        assert 'http-equiv="refresh"' not in ended
        assert server.counts() == {"get": 2}
        page_of_a_job(job.arn, "Completed")
        monkeypatch.delenv("AIRFLOW__BEDROCK__LIVE_AWS_CONN_ID")
        assert "Amazon Bedrock" not in page_of_a_job(job.arn)
        assert server.counts() == {"get": 2}


@pytest.mark.parametrize(
    ("code", "arn", "why"),
    [
        ("AccessDeniedException", "", "AccessDeniedException"),
        ("", f"{ARN}unknown", "ResourceNotFoundException"),
        ("", "no ARN", "ValueError"),
        (None, f"{ARN}0", "EndpointConnectionError"),
    ],
)
def test_where_bedrock_does_not_say_the_page_shows_what_is_known(
    live: None, monkeypatch: pytest.MonkeyPatch, code: str | None, arn: str, why: str
) -> None:
    """And one sentence, without what the error says of roles and addresses."""
    with JobServer(fault=lambda call: Fault(403, code, "arn:aws:iam::role/secret") if code else None) as server:
        [job] = server.add(1)
        if code is not None:
            monkeypatch.setenv("AIRFLOW_CONN_BEDROCK_LIVE", server.connection())
        page = page_of_a_job(arn or job.arn)
    assert f"Could not read this job from Amazon Bedrock ({why})" in page
    assert '<span class="status status-InProgress">' in page
    assert "secret" not in page
    assert "127.0.0.1" not in page


@pytest.fixture
def silent(live: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a call of Bedrock waits for."""
    from airflow_bedrock.customization.job import Job
    from airflow_bedrock.plugin import live as asking

    may_answer = threading.Event()

    def get(job_arn: str, aws_conn_id: str) -> Job:
        may_answer.wait(300)
        return Job(arn=job_arn, name="job", status="Stopping")

    monkeypatch.setattr(asking, "_get", get)
    monkeypatch.setattr(asking, "_SECONDS", 300)
    yield may_answer
    may_answer.set()


def test_a_service_that_does_not_answer_keeps_no_other_request_waiting(silent: threading.Event) -> None:
    """The views share a loop with Airflow's API server."""
    airflow = FakeAirflow([1])
    airflow.more = {"status": "InProgress"}

    async def look() -> str:
        async with airflow.client() as client:
            slow = asyncio.create_task(client.get("/bedrock/job", params=ONE))
            for _ in range(3):
                (await client.get("/bedrock/models")).raise_for_status()
            assert not slow.done()
            silent.set()
            return (await slow).text

    assert '<span class="status status-Stopping">' in asyncio.run(look())


def test_a_page_waits_no_longer_than_its_limit(silent: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """For Amazon Bedrock; it then says that there was no response."""
    monkeypatch.setattr("airflow_bedrock.plugin.live._SECONDS", 0.01)
    assert "Could not read this job from Amazon Bedrock (no response)" in page_of_a_job(f"{ARN}0")
