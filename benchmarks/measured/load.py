"""Put a server of the AWS API under a steady load, and print its latencies and its CPU time.

``load.py SERVER JOBS RATE SECONDS``: SERVER is ``local-bedrock`` or ``moto``; the load begins with JOBS customization
jobs, and goes on with a mix of reading them and of S3 for SECONDS, RATE requests a second throughout. Requests are
sent when they are due, whether or not earlier ones were answered, and latency counts from when they were due.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import boto3
import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
from botocore.config import Config

BUCKET = "load"
JOB_SECONDS = 10
CONNECTIONS = 32
MIX = ("get", "put", "get", "list", "get", "read", "get", "models", "get", "read")


@dataclass
class Answer:
    """One answer: what was asked, when it was due, how long it took, and its HTTP status."""

    kind: str
    due: float
    seconds: float
    status: int


class Connections:
    """Connections that stay open where the server lets them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(None)

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status of the answer, which is read to its end."""
        connection = await self._free.get()
        if connection is None or connection[0].at_eof():
            connection = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        stays = False
        try:
            writer.write(request)
            status, stays = await _read(reader)
            return status
        finally:
            if not stays:
                writer.close()
            self._free.put_nowait(connection if stays else None)


async def _read(reader: asyncio.StreamReader) -> tuple[int, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    protocol, status = head[0].split()[:2]
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    await reader.readexactly(int(headers.get("content-length", 0)))
    return int(status), protocol == "http/1.1" and headers.get("connection") != "close"


def request(kind: str, number: int, jobs: int) -> bytes:
    name, key = f"job-{number % max(1, jobs)}", f"key-{number % 100}"
    if kind == "create":
        body = {
            "jobName": name,
            "customModelName": f"model-{number}",
            "roleArn": "arn:aws:iam::123456789012:role/load",
            "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
            "trainingDataConfig": {"s3Uri": f"s3://{BUCKET}/train.jsonl"},
            "outputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"},
            "hyperParameters": {"epochCount": "1"},
        }
        return _http("POST", "/model-customization-jobs", "bedrock", json.dumps(body).encode())
    return {
        "get": lambda: _http("GET", f"/model-customization-jobs/{name}", "bedrock"),
        "list": lambda: _http("GET", "/model-customization-jobs?maxResults=100", "bedrock"),
        "models": lambda: _http("GET", "/custom-models?maxResults=100", "bedrock"),
        "put": lambda: _http("PUT", f"/{BUCKET}/{key}", "s3", b"x" * 1000),
        "read": lambda: _http("GET", f"/{BUCKET}/train.jsonl", "s3"),
    }[kind]()


def _http(method: str, path: str, service: str, body: bytes = b"") -> bytes:
    scope = f"Credential=local/20260101/us-east-1/{service}/aws4_request"
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/json\r\n"
        f"Authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0\r\n\r\n"
    )
    return head.encode() + body


async def load(port: int, jobs: int, rate: float, seconds: float) -> list[Answer]:
    """Send everything when it is due, and return all answers in the order of their being due."""
    connections = Connections(port)
    began = time.perf_counter() + 0.1

    async def one(kind: str, number: int, due: float) -> Answer:
        try:
            status = await connections.ask(request(kind, number, jobs))
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        return Answer(kind, due, time.perf_counter() - began - due, status)

    tasks = []
    for number in range(jobs + round(rate * seconds)):
        due = number / rate
        await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
        kind = "create" if number < jobs else MIX[number % len(MIX)]
        tasks.append(asyncio.create_task(one(kind, number, due)))
    return await asyncio.gather(*tasks)


def serve(server: str, port: int) -> subprocess.Popen[bytes]:
    programs = Path(sys.executable).parent
    quotas = [f"--quota={name}=100000" for name in ("scheduled_jobs", "training_jobs", "custom_models")]
    local = [programs / "airflow-bedrock", "local", "--port", str(port), "--job-seconds", str(JOB_SECONDS), *quotas]
    moto = [programs / "moto_server", "--port", str(port)]
    command = [str(part) for part in (local if server == "local-bedrock" else moto)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def prepare(port: int) -> None:
    """Wait for the server, and put in place what jobs need."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
    session: Any = boto3.session.Session("local", "local", region_name="us-east-1")
    at = {"endpoint_url": f"http://127.0.0.1:{port}", "config": Config(s3={"addressing_style": "path"})}
    s3, iam = session.client("s3", **at), session.client("iam", **at)
    s3.create_bucket(Bucket=BUCKET)
    turns = [{"role": "user", "content": [{"text": "Hello"}]}, {"role": "assistant", "content": [{"text": "Hi"}]}]
    line = json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": turns}) + "\n"
    s3.put_object(Bucket=BUCKET, Key="train.jsonl", Body=(line * 10).encode())
    allow = {"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.create_role(RoleName="load", AssumeRolePolicyDocument=trust)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="load", PolicyName="s3", PolicyDocument=json.dumps(policy))
    s3.close()
    iam.close()


def figures(answers: list[Answer], cpu: float) -> dict[str, float]:
    """Return the latencies by operation, and how those of the last third compare with those of the first."""
    wrong = Counter((one.kind, one.status) for one in answers if not 200 <= one.status < 300)
    assert not wrong, f"not answered well: {dict(wrong)}"
    by_kind: dict[str, list[float]] = defaultdict(list)
    for one in answers:
        by_kind[one.kind].append(one.seconds * 1000)
    shown = {f"{kind} p50, ms": quantiles(by_kind[kind], n=100)[49] for kind in sorted(by_kind)}
    mixed = [one for one in answers if one.kind != "create"]
    everything = [one.seconds * 1000 for one in mixed]
    third = len(mixed) // 3
    first, last = everything[:third], everything[-third:]
    shown["all p50, ms"] = quantiles(everything, n=100)[49]
    shown["all p95, ms"] = quantiles(everything, n=100)[94]
    shown["all p99, ms"] = quantiles(everything, n=100)[98]
    shown["p50 of the last third / of the first"] = quantiles(last, n=100)[49] / quantiles(first, n=100)[49]
    shown["p95 of the last third / of the first"] = quantiles(last, n=100)[94] / quantiles(first, n=100)[94]
    shown["CPU of the server, s"] = cpu
    return shown


def completed(port: int, jobs: int) -> None:
    """Check that each job of Local Bedrock has completed, and wait for the last ones."""
    deadline = time.monotonic() + 120
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_local/jobs") as answer:
            statuses = Counter(job["status"] for job in json.load(answer))
        if statuses == {"Completed": jobs}:
            return
        assert set(statuses) <= {"Completed", "InProgress"}, statuses
        assert time.monotonic() < deadline, statuses
        time.sleep(0.2)


def main() -> None:
    server, jobs, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = serve(server, port)
    try:
        prepare(port)
        answers = asyncio.run(load(port, jobs, rate, seconds))
        used = psutil.Process(process.pid).cpu_times()
        if server == "local-bedrock":
            completed(port, jobs)
    finally:
        process.terminate()
        process.wait(30)
    print(json.dumps(figures(answers, used.user + used.system)))


if __name__ == "__main__":
    main()
