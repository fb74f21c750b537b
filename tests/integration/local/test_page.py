"""The page for people: what it shows, what it does not, and that nothing in it becomes markup."""

from __future__ import annotations

import http.client
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from email.message import Message
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from airflow_bedrock.customization.console import object_page
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.local.clock import Clock
from airflow_bedrock.local.faults import Faults
from airflow_bedrock.local.settings import Settings
from airflow_bedrock.local.state.bedrock import World
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.web.journal import Journal
from airflow_bedrock.local.web.page import page
from airflow_bedrock.local.work.batch_inference import STATUSES
from tests.integration.local.conftest import wait

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

HOSTILE = """</td><script>alert("1")</script><img src=x onerror='alert(2)'>&lt;"""


class Page(HTMLParser):
    """What a browser makes of the page: its elements, the rows of its tables, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self.html = html
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self._rows = self.tables[dict(attrs)["aria-label"] or ""] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self._rows[-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            self._cell.append(data)

    def row(self, table: str, name: str) -> dict[str, str]:
        columns, *rows = self.tables[table]
        (found,) = [row for row in rows if row[0] == name]
        return dict(zip(columns, found, strict=True))


def ask(local: LocalBedrock, method: str = "GET") -> tuple[int, Message, str]:
    """Return the status, the headers and the body."""
    with closing(http.client.HTTPConnection(urlsplit(local.endpoint_url).netloc, timeout=120)) as connection:
        connection.request(method, "/_local/")
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def show(local: LocalBedrock) -> Page:
    return Page(ask(local)[2])


class NoClients:
    def client(self, service: str, region: str) -> Any:
        raise AssertionError("the page asks no other service")


@pytest.fixture
def fresh(service: Service) -> Iterator[Service]:
    """A Local Bedrock of one's own; moto's part is one for the process, so it begins with a bucket that is there."""
    with LocalBedrock(job_seconds=0.3, deployment_seconds=0.1) as local:
        one = type(service)(local)
        yield one
        one.close()


def test_it_shows_what_there_is(service: Service) -> None:
    """Jobs with phases, losses by step, models, deployments, calls."""
    validation = {"validators": [{"s3Uri": service.put("held-out.jsonl", service.dataset(30))}]}
    job = service.job(service.create(validationDataConfig=validation))
    deployment = service.deployment(service.deploy(job["outputModelArn"]))
    shown = show(service.local)
    row = shown.row("Jobs", job["jobName"])
    assert (row["Status"], row["Method"], row["Region"]) == ("Completed", "FINE_TUNING", "us-east-1")
    assert row["Created"] == f"{job['creationTime']:%Y-%m-%d %H:%M:%S}"
    assert row["Ended"] == f"{job['endTime']:%Y-%m-%d %H:%M:%S}"
    phases = row["Phases"].splitlines()
    assert [phase.partition(",")[0] for phase in phases] == [
        "validation: Completed",
        "dataProcessing: Completed",
        "training: Completed",
    ]
    assert phases[-1].endswith("step 240 of 240")
    assert shown.row("Models", job["outputModelName"])["Status"] == "Active"
    assert shown.row("Deployments", deployment["modelDeploymentName"])["Model"] == job["outputModelName"]
    _, *calls = shown.tables["Journal"]
    assert calls[0][3:7] == ["GetCustomModelDeployment", deployment["customModelDeploymentArn"], "us-east-1", "200"]


def test_losses_are_drawn(fresh: Service) -> None:
    """One line for training, from the first step to the last, one for validation with a dot for each epoch."""
    validation = {"validators": [{"s3Uri": fresh.put("held-out.jsonl", fresh.dataset(30))}]}
    job = fresh.job(fresh.create(validationDataConfig=validation))
    shown = show(fresh.local)
    lines = {one["class"]: one["points"] or "" for tag, one in shown.elements if tag == "polyline"}
    assert lines.keys() == {"training", "validation"}
    places = [tuple(map(float, point.split(","))) for point in lines["training"].split()]
    assert len(places) >= 200
    assert places == sorted(places, key=lambda place: place[0])
    assert places[0][0] < 63, "the first step is at the left"
    assert places[-1][0] == 590, "the last step is at the right"
    assert places[0][1] < 50 < 100 < places[-1][1], "the loss went down"
    assert len(lines["validation"].split()) == sum(tag == "circle" for tag, _ in shown.elements) == 2
    (drawing,) = [one for tag, one in shown.elements if tag == "svg"]
    described = [one["id"] for tag, one in shown.elements if tag in ("title", "desc") and one]
    assert drawing["role"] == "img"
    assert (drawing["aria-labelledby"] or "").split() == described
    assert f"Losses of {job['jobName']} by step" in shown.text
    assert f"to {job['validationMetrics'][0]['validationLoss']:.3f}" in shown.text


def test_it_shows_what_serves_and_what_comes(fresh: Service) -> None:
    """Provisioned throughput, batch jobs with their records, copies and imports with where they come from."""
    base = "amazon.nova-micro-v1:0"
    throughput = fresh.provision(f"{base}:128k")
    name = fresh.bedrock.get_provisioned_model_throughput(provisionedModelId=throughput)["provisionedModelName"]
    place = {"s3Uri": f"s3://{fresh.local.bucket}/nothing/"}
    wanted = {"jobName": fresh.name("batch"), "roleArn": fresh.local.role_arn, "modelId": base}
    batch = fresh.bedrock.create_model_invocation_job(
        **wanted, inputDataConfig={"s3InputDataConfig": place}, outputDataConfig={"s3OutputDataConfig": place}
    )["jobArn"]
    source = {"s3DataSource": place}
    coming = fresh.bedrock.create_model_import_job(
        jobName=fresh.name("import"), importedModelName="coming", roleArn=wanted["roleArn"], modelDataSource=source
    )["jobArn"]
    model = fresh.model()
    west = fresh.local.client("bedrock", "us-west-2")
    copied = west.create_model_copy_job(sourceModelArn=model, targetModelName="copied")["jobArn"]
    wait(lambda: dict(fresh.bedrock.get_model_invocation_job(jobIdentifier=batch)), *STATUSES)
    shown = show(fresh.local)
    row = shown.row("Provisioned throughput", name)
    assert (row["Units"], row["Status"], row["Model"].rpartition("/")[2]) == ("1", "InService", f"{base}:128k")
    row = shown.row("Batch inference jobs", wanted["jobName"])
    assert (row["Status"], row["Records"]) == ("Failed", "0 of 0")
    assert "GetObject" in row["Failure"]
    assert shown.row("Copies and imports", "coming")["From"] == place["s3Uri"]
    row = shown.row("Copies and imports", "copied")
    assert (row["From"], row["Region"]) == (model, "us-west-2")
    assert {throughput, batch, coming, copied} <= {one.get("id") for _, one in shown.elements}, "links lead to them"


def test_losses_are_there_after_a_restart(service: Service, tmp_path: Path) -> None:
    """The same lines are drawn of a job that an earlier run has trained."""
    drawn: list[list[dict[str, str | None]]] = []
    for _ in range(2):
        with LocalBedrock(job_seconds=0.3, state=tmp_path) as local:
            if not drawn:
                one = type(service)(local)
                one.model()
                one.close()
            drawn.append([attributes for tag, attributes in show(local).elements if tag in ("polyline", "circle")])
    assert drawn[0] == drawn[1] != []


def test_nothing_in_it_becomes_markup(service: Service) -> None:
    """A failure's message, an object's key and a model's name are text, whatever they hold."""
    service.local.faults.fail_job("training", job="hostile-*", message=HOSTILE)
    job = service.job(service.create(jobName=service.name("hostile")))
    service.put(HOSTILE, "x")
    with pytest.raises(service.bedrock.exceptions.ClientError):
        service.ask(HOSTILE, "a secret question")
    shown = show(service.local)
    assert shown.row("Jobs", job["jobName"])["Failure"] == HOSTILE
    assert f"{service.local.bucket}/{HOSTILE}" in [row[4] for row in shown.tables["Journal"]]
    assert not {"script", "img", "form", "link", "iframe"} & {tag for tag, _ in shown.elements}
    assert not [name for _, one in shown.elements for name in one if name.startswith("on") or name in ("src", "href")]
    assert "secret" not in shown.html


def test_headers(local: LocalBedrock) -> None:
    """No script, no frame around it, no copy kept; its own style is the one that is let through."""
    _, headers, _ = ask(local)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    (style,) = re.findall("<style>(.*)</style>", ask(local)[2], re.DOTALL)
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    status, headers, body = ask(local, "HEAD")
    assert (status, body, headers["X-Frame-Options"]) == (200, "", "DENY")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_takes_nothing(local: LocalBedrock, method: str) -> None:
    """Whatever would change something is refused."""
    assert ask(local, method)[0] == 405


def test_a_browser_opens_the_report_of_an_evaluation(local: LocalBedrock) -> None:
    """From a link in Airflow's UI, without a signature; whatever stands in an object runs nothing."""
    with closing(local.client("s3")) as s3:
        s3.put_object(Bucket=local.bucket, Key="a b/report.html", Body=HOSTILE.encode(), ContentType="text/html")
    link = object_page(local.endpoint_url, f"s3://{local.bucket}/a b/report.html", "us-east-1")
    browser = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    with closing(http.client.HTTPConnection(urlsplit(link).netloc)) as connection:
        connection.request("GET", urlsplit(link).path, headers={"User-Agent": "Mozilla/5.0", **browser})
        response = connection.getresponse()
        assert (response.status, response.read().decode()) == (200, HOSTILE)
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        for method, path, status in (("GET", f"{link}s", 404), ("GET", link[:-20], 404), ("DELETE", link, 405)):
            connection.request(method, urlsplit(path).path)
            refused = connection.getresponse()
            refused.read()
            assert refused.status == status, path
        page_of_others = {"Origin": "http://127.0.0.1:8080", "User-Agent": "Mozilla/5.0"}
        connection.request("GET", urlsplit(link).path, headers=page_of_others)
        assert connection.getresponse().status == 403


def test_empty(fresh: Service) -> None:
    """Before anything has been made it says so, and does not load itself anew."""
    fresh.local.calls.clear()
    shown = show(fresh.local)
    assert [shown.text.count(one) for one in ("None yet.", "Jobs", "Losses", "Journal")] == [8, 1, 1, 1]
    assert not shown.tables
    assert not [one for tag, one in shown.elements if tag == "meta" and one.get("http-equiv")]


def test_a_thousand_jobs() -> None:
    """All of them are shown, the newest first; the losses of twenty are drawn, with points that can be told apart."""
    clock = Clock()
    world = World(Settings(), NoClients(), clock, Faults(clock.time))
    now = world.clock.now()
    jobs = world.bedrock("123456789012", "eu-west-1").jobs
    for number in range(1000):
        arn = f"arn:aws:bedrock:eu-west-1:123456789012:model-customization-job/nova/{number:012}"
        created = now + timedelta(seconds=number)
        jobs[arn] = Job(
            arn=arn,
            name=f"job-{number}",
            creation_time=created,
            last_modified_time=created,
            model_name="model",
            base_model="nova",
            base_model_arn="nova",
            request={},
            hyperparameters={},
        )
        jobs[arn].progress.training_losses.extend(1 / step for step in range(1, 5001))
    shown = Page(page(world, Journal()).body.decode())
    assert [row[0] for row in shown.tables["Jobs"][1:]] == [f"job-{number}" for number in reversed(range(1000))]
    lines = [(one["points"] or "").split() for tag, one in shown.elements if tag == "polyline"]
    assert len(lines) == 20
    assert all(len(line) <= 202 and line[-1].startswith("590.0,") for line in lines)
    assert {"http-equiv": "refresh", "content": "10"} in [one for tag, one in shown.elements if tag == "meta"]
