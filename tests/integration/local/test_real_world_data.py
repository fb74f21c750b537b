"""Data as people have it, of our own making: prepared, checked, and trained on by Local Bedrock."""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.datasets import rules_for
from airflow_bedrock.local.work.records import read_records

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

SETTINGS = {"start": datetime(2026, 6, 1), "job_seconds": 0.1}  # Claude 3 Haiku has ended since
TEACHER = {"distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": "amazon.nova-pro-v1:0"}}}
MICRO, LITE, NOVA_2 = "amazon.nova-micro-v1:0", "amazon.nova-lite-v1:0", "amazon.nova-2-lite-v1:0"


class Data(NamedTuple):
    """A source.

    :param name: of its file.
    :param read: how many records it has.
    :param first: what is in the first record that is written, as text.
    :param dropped: by rule, as the report has it.
    """

    name: str
    content: bytes
    read: int
    model: str
    first: str
    options: tuple[str, ...] = ()
    method: str = "FINE_TUNING"
    dropped: Mapping[str, int] = MappingProxyType({})


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in records)


def openai_chat() -> Data:
    """As exported for another service: a developer's prompt, names, weights, no tools; one record calls one."""
    records: list[Any] = []
    for n in range(40):
        turns = [
            {"role": "developer", "content": "You sort tickets."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": f"My order {n} is late 📦"}]},
            {"role": "assistant", "content": "shipping", "weight": 1, "refusal": None, "tool_calls": None},
        ]
        records.append({"messages": turns, "tools": [], "parallel_tool_calls": False, "metadata": {"id": f"t-{n}"}})
    call = {"id": "c", "type": "function", "function": {"name": "track", "arguments": "{}"}}
    records[7]["messages"][-1:] = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    dropped = {"holds a tool call, which no fine-tuning format accepts": 1}
    return Data("chat.jsonl", lines(*records), 40, MICRO, '"system":[{"text":"You sort tickets."}]', dropped=dropped)


def anthropic_messages() -> Data:
    """A system prompt beside the messages, blocks with members of their own, several turns."""
    block = {"type": "text", "cache_control": {"type": "ephemeral"}}
    records = [
        {
            "system": "Answer in German.",
            "messages": [
                {"role": "user", "content": [{**block, "text": f"What is {n}?"}]},
                {"role": "assistant", "content": [{**block, "text": "Eine Zahl."}]},
                {"role": "user", "content": "Which one?"},
                {"role": "assistant", "content": f"{n}"},
            ],
        }
        for n in range(60)
    ]
    return Data(
        "messages.ndjson.gz",
        gzip.compress(lines(*records)),
        60,
        "anthropic.claude-3-haiku-20240307-v1:0",
        '"content":"Eine Zahl."',
    )


def share_gpt() -> Data:
    """A pretty-printed array, with ids and a role by its other name; one chat begins with the model."""
    chats: list[Any] = [
        {
            "id": f"chat_{n}_0",
            "conversations": [
                {"from": "human", "value": f"Où est le n° {n} ?"},
                {"from": "gpt" if n % 2 else "assistant", "value": "Là.\n\n```\nprint(1)\n```"},
            ],
        }
        for n in range(40)
    ]
    chats[3]["conversations"].insert(0, {"from": "gpt", "value": "Bonjour"})
    rule = "the first message must be the user's and the last one the assistant's"
    content = json.dumps(chats, indent=2).encode()
    return Data("ShareGPT.json", content, 40, LITE, "Où est le n° 0 ?", dropped={rule: 1})


def alpaca() -> Data:
    """Instructions, of which most have no input."""
    records = [
        {"instruction": f"Name a number above {n}.", "input": "" if n % 4 else "as a word", "output": f"{n + 1}"}
        for n in range(140)
    ]
    options = ("--prompt-field", "{instruction}\n{input}", "--completion-field", "output")
    content = json.dumps(records).encode()
    return Data("alpaca.json", content, 140, "meta.llama3-1-8b-instruct-v1:0", r"above 0.\nas a word", options)


def csv_of_excel() -> Data:
    """A byte order mark, carriage returns, quotes, line ends within fields, labels that are numbers; one bare comma."""
    rows = "".join(f'{n},"He said ""no"",\r\nthen ""yes"" {n}.",{n % 3}\r\n' for n in range(40))
    content = f"\ufeffid,Ticket text,Label\r\n{rows}40,Sorry, what?,1\r\n".encode()
    rule = "has more fields than the header: quote texts with a delimiter or a line end"
    options = ("--prompt-field", "Ticket text", "--completion-field", "Label")
    return Data("Tickets.CSV", content, 41, MICRO, r"He said \"no\",\r\nthen", options, dropped={rule: 1})


def tsv_of_a_warehouse() -> Data:
    """Packed, with times: the newest are held out."""
    rows = "".join(f"{1_700_000_000 + n}\tWhere is {n}?\t這裡\n" for n in range(60))
    options = ("--prompt-field", "q", "--completion-field", "a", "--time-field", "at", "--test-fraction", "0")
    return Data(
        "export.tsv.gz",
        gzip.compress(f"at\tq\ta\n{rows}".encode()),
        60,
        MICRO,
        "Where is 0?",
        (*options, "--test-after", "2023-11-14T22:14:00", "--validation-fraction", "0.3"),
    )


def nested_parquet() -> Data:
    """Structs and lists, as engines write them."""
    duckdb = pytest.importorskip("duckdb")
    with tempfile.TemporaryDirectory() as folder:
        query = (
            "SELECT {'id': i, 'body': {'text': 'Is ' || i || ' even?'}} AS ticket, ['a', 'b'] AS tags, "
            "CASE WHEN i % 2 = 0 THEN 'yes' ELSE 'no' END AS label, now() AS at FROM range(60) r(i)"
        )
        duckdb.sql(query).write_parquet(f"{folder}/p.parquet")
        content = Path(folder, "p.parquet").read_bytes()
    options = ("--prompt-field", "ticket.body.text", "--completion-field", "label")
    return Data("part-0.parquet", content, 60, MICRO, "Is 0 even?", options)


def images_on_s3() -> Data:
    """Converse, with the picture that is asked about."""
    records = [
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://{bucket}/cats/1.png"}}}},
                        {"text": f"What is on photograph {n}?"},
                    ],
                },
                {"role": "assistant", "content": [{"text": "A cat."}]},
            ]
        }
        for n in range(40)
    ]
    return Data("photographs.jsonl", lines(*records), 40, LITE, "cats/1.png")


def distillation_prompts() -> Data:
    """Questions alone, under a name of their own, with numbers and nothing beside them."""
    records = ({"utterance": f"Where is parcel {n}?", "score": 0.5, "label": None} for n in range(140))
    return Data(
        "prompts.jsonl", lines(*records), 140, MICRO, "parcel 0", ("--prompt-field", "utterance"), "DISTILLATION"
    )


def invocation_logs() -> Data:
    """Of Converse, whose answers are learnt; a call that failed has none."""

    def log(n: int) -> dict[str, Any]:
        asked = {"messages": [{"role": "user", "content": [{"text": f"Where is parcel {n}?"}]}]}
        said = {"output": {"message": {"role": "assistant", "content": [{"text": "On its way."}]}}}
        return {
            "schemaType": "ModelInvocationLog",
            "schemaVersion": "1.0",
            "operation": "Converse",
            "modelId": "amazon.nova-pro-v1:0",
            "input": {"inputContentType": "application/json", "inputBodyJson": asked, "inputTokenCount": 5},
            "output": {"outputBodyJson": said if n != 5 else {}, "outputTokenCount": 4},
        }

    rule = "the first message must be the user's and the last one the assistant's"
    content = gzip.compress(lines(*map(log, range(40))))
    return Data("20261101T00Z.json.gz", content, 40, MICRO, "On its way.", dropped={rule: 1})


def reasoning() -> Data:
    """A model that thinks, exported in the form of another one."""
    records = [
        {
            "messages": [
                {"role": "user", "content": f"Is {n} even?"},
                {
                    "role": "assistant",
                    "reasoning_content": f"{n} modulo 2 is {n % 2}.",
                    "content": ("yes", "no")[n % 2],
                },
            ]
        }
        for n in range(300)
    ]
    return Data("thoughts.jsonl", lines(*records), 300, NOVA_2, "0 modulo 2 is 0.", ("--validation-fraction", "0"))


def graded() -> Data:
    """Reinforcement: what the grader is given stands beside the messages, nested."""
    records = (
        {
            "messages": [
                {"role": "system", "content": "Add."},
                {"role": "user", "content": f"How many are {n} and 1?"},
            ],
            "reference_answer": {"number": n + 1, "unit": None},
            "data_source": "of our own",
        }
        for n in range(140)
    )
    method = "REINFORCEMENT_FINE_TUNING"
    options = ("--validation-fraction", "0")
    return Data("graded.jsonl", lines(*records), 140, NOVA_2, '"data_source":"of our own"', options, method)


def texts() -> Data:
    """Continued pre-training, from a plain text."""
    content = "\n".join(f"  Chapter {n} is about the number {n}.\n" for n in range(40)).encode()
    return Data("book.txt", content, 40, "amazon.titan-text-lite-v1", "Chapter 0", method="CONTINUED_PRE_TRAINING")


SOURCES: list[Callable[[], Data]] = [
    *(openai_chat, anthropic_messages, share_gpt, alpaca, csv_of_excel, tsv_of_a_warehouse, nested_parquet),
    *(images_on_s3, distillation_prompts, invocation_logs, reasoning, graded, texts),
]


@pytest.fixture(scope="module")
def west(service: Service) -> str:
    """A bucket in us-west-2, where some models are customized."""
    name = service.name("west")
    service.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return name


@pytest.mark.parametrize("made", SOURCES, ids=lambda made: made.__name__)
def test_data_of_people_is_trained_on(
    service: Service, west: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], made: Callable[[], Data]
) -> None:
    """Every record is written or counted by its rule, the check finds no problem, and the job completes."""
    data = made()
    service.put("cats/1.png", "a cat")
    file = tmp_path / data.name
    file.write_bytes(data.content.replace(b"{bucket}", service.local.bucket.encode()))
    model = ["--model", data.model, "--method", data.method]
    options = ["--output", str(tmp_path / "out"), *model, *data.options, "--format", "json"]
    assert main(["prepare", str(file), *options]) == 0, capsys.readouterr().err
    report = json.loads(capsys.readouterr().out)["report"]
    assert (report["read"], report["dropped"]) == (data.read, data.dropped)
    assert sum(split["records"] for split in report["splits"].values()) == data.read - sum(data.dropped.values())
    written = [tmp_path / "out" / f"{split}.jsonl" for split, one in report["splits"].items() if one["records"]]
    assert data.first in "".join(one.read_text("utf-8") for one in written)
    train = tmp_path / "out" / "train.jsonl"
    assert main(["check", str(train), *model]) == 0, capsys.readouterr().out
    if data.method == "REINFORCEMENT_FINE_TUNING":  # whose job calls a grader
        assert len(list(read_records(train.read_bytes().splitlines(), "s3://a/b", rules_for(data.model, data.method))))
        return
    region = rules_for(data.model, data.method).method.regions[0]
    bucket = service.local.bucket if region == "us-east-1" else west
    service.s3.put_object(Bucket=bucket, Key="train.jsonl", Body=train.read_bytes())
    request = service.request(
        baseModelIdentifier=data.model,
        customizationType=data.method,
        trainingDataConfig={"s3Uri": f"s3://{bucket}/train.jsonl"},
        outputDataConfig={"s3Uri": f"s3://{bucket}/out/"},
    )
    if data.method == "DISTILLATION":
        request["customizationConfig"] = TEACHER
    bedrock = service.local.client("bedrock", region=region)
    arn = bedrock.create_model_customization_job(**request)["jobArn"]
    while (job := bedrock.get_model_customization_job(jobIdentifier=arn))["status"] == "InProgress":
        time.sleep(0.02)
    bedrock.close()
    assert job["status"] == "Completed", job
