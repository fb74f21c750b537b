"""Prepare a dataset, or check one, in one way, and print what it took as JSON.

Each way of preparing does the same: read prompt and completion, leave out what is empty, too long or holds a reserved
word where the model is asked, compare prompts in their normalised form (NFKC, case folded, white space), keep the first
of those that ask the same, split by a hash of the prompt, and write three files in the Converse format.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import unicodedata
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

WORDS = ("user:", "bot:", "assistant:", "system:", "thought:", "<image>", "<video>", "<unk>", "[eos]")
SYSTEM = "Answer the customer in one sentence."


def normalise(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def split_of(normalised: str) -> int:
    place = zlib.crc32(normalised.encode()) % 10
    return 2 if place == 0 else 1 if place == 1 else 0


def ours(source: Path, out: Path) -> int:
    from airflow_bedrock.datasets import RecordFormat, Settings, Source, Split, prepare, rules_for

    settings = Settings(
        record_format=RecordFormat.CONVERSE, rules=rules_for("amazon.nova-micro-v1:0"), system_prompt=SYSTEM
    )
    files = {split: (out / f"{split.value}.jsonl").open("wb") for split in Split}
    report = prepare([Source("source", source)], files, settings)
    for file in files.values():
        file.close()
    return sum(report.records(split) for split in Split)


def duckdb(source: Path, out: Path) -> int:
    import duckdb

    database = duckdb.connect(config={"threads": 2, "temp_directory": str(out)})
    words = " AND ".join(f"NOT contains(lower(prompt), '{word}')" for word in WORDS)
    database.execute(
        f"""CREATE TABLE kept AS SELECT any_value(prompt ORDER BY n) AS prompt, any_value(completion ORDER BY n) AS
        completion, hash(key) % 10 AS place FROM (SELECT *, row_number() OVER () AS n,
        trim(regexp_replace(lower(nfc_normalize(prompt)), '\\s+', ' ', 'g')) AS key
        FROM read_json('{source}', format = 'newline_delimited', columns = {{prompt: 'VARCHAR', completion: 'VARCHAR'}})
        WHERE trim(prompt) <> '' AND trim(completion) <> '' AND length(prompt) + length(completion) < 32000 AND {words})
        GROUP BY key"""  # noqa: S608 - a benchmark's own file
    )
    for name, condition in (("train", "place > 1"), ("validation", "place = 1"), ("test", "place = 0")):
        database.execute(
            f"""COPY (SELECT 'bedrock-conversation-2024' AS "schemaVersion", [{{text: '{SYSTEM}'}}] AS "system",
            [{{role: 'user', content: [{{text: prompt}}]}}, {{role: 'assistant', content: [{{text: completion}}]}}]
            AS messages FROM kept WHERE {condition}) TO '{out}/{name}.jsonl' (FORMAT json)"""  # noqa: S608 - as above
        )
    found = database.execute("SELECT count(*) FROM kept").fetchone()
    assert found
    return int(found[0])


def polars(source: Path, out: Path) -> int:
    pl: Any = import_module("polars")

    prompt, both = pl.col("prompt"), pl.col("prompt").str.len_chars() + pl.col("completion").str.len_chars()
    frame = pl.read_ndjson(source, schema={"prompt": pl.String, "completion": pl.String})
    good = (prompt.str.strip_chars() != "") & (pl.col("completion").str.strip_chars() != "") & (both < 32_000)
    frame = frame.filter(good & ~prompt.str.to_lowercase().str.contains_any(list(WORDS)))
    key = prompt.str.normalize("NFKC").str.to_lowercase().str.normalize("NFKC").str.replace_all(r"\s+", " ")
    frame = frame.with_columns(key.str.strip_chars().alias("key")).unique("key", keep="first", maintain_order=True)
    frame = frame.with_columns((pl.col("key").hash(1) % 10).alias("place"))
    turn = [
        pl.struct(pl.lit(role).alias("role"), pl.concat_list(pl.struct(text.alias("text"))).alias("content"))
        for role, text in (("user", prompt), ("assistant", pl.col("completion")))
    ]
    written = frame.select(
        pl.lit("bedrock-conversation-2024").alias("schemaVersion"),
        pl.concat_list(pl.struct(pl.lit(SYSTEM).alias("text"))).alias("system"),
        pl.concat_list(turn).alias("messages"),
        pl.col("place"),
    )
    for name, condition in (
        ("train", pl.col("place") > 1),
        ("validation", pl.col("place") == 1),
        ("test", pl.col("place") == 0),
    ):
        written.filter(condition).drop("place").write_ndjson(out / f"{name}.jsonl")
    return len(frame)


def pandas(source: Path, out: Path) -> int:
    pd: Any = import_module("pandas")

    kept = 0
    keys: set[str] = set()
    files = [(out / name).open("w", encoding="utf-8") for name in ("train.jsonl", "validation.jsonl", "test.jsonl")]
    for frame in pd.read_json(source, lines=True, chunksize=100_000, dtype=str):
        lower = frame["prompt"].str.lower()
        good = (frame["prompt"].str.strip() != "") & (frame["completion"].str.strip() != "")
        for word in WORDS:
            good &= ~lower.str.contains(word, regex=False)
        good &= frame["prompt"].str.len() + frame["completion"].str.len() < 32_000
        frame = frame[good].assign(key=frame["prompt"].map(normalise)).drop_duplicates("key")
        frame = frame[~frame["key"].isin(keys)]
        keys.update(frame["key"])
        kept += len(frame)
        for prompt, completion, key in frame.itertuples(index=False):
            turns = [("user", prompt), ("assistant", completion)]
            record = {
                "schemaVersion": "bedrock-conversation-2024",
                "system": [{"text": SYSTEM}],
                "messages": [{"role": role, "content": [{"text": text}]} for role, text in turns],
            }
            files[split_of(key)].write(json.dumps(record, ensure_ascii=False) + "\n")
    for file in files:
        file.close()
    return kept


def check(source: Path, out: Path) -> int:
    from airflow_bedrock.datasets import rules_for
    from airflow_bedrock.datasets.checking import check

    report = check({"training": source}, rules_for("amazon.nova-micro-v1:0"))
    assert not report.problems
    return report.files["training"].records


def decode(source: Path, out: Path) -> int:
    """Decode every line to its type, and nothing else."""
    from airflow_bedrock.datasets.rules.forms import FORMS

    read, count = FORMS["nova"].decoder.decode, 0
    with source.open("rb") as file:
        for line in file:
            read(line)
            count += 1
    return count


def main() -> None:
    way, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    begun = time.perf_counter()
    records = globals()[way](source, out)
    wall = time.perf_counter() - begun
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    figures: dict[str, Any] = {
        "wall, s": wall,
        "CPU, s": sum(one.ru_utime + one.ru_stime for one in (own, children)),
        # Of its processes together, at most: each has the memory of the largest.
        "memory, MB": (own.ru_maxrss + 2 * children.ru_maxrss) / 1024,
        "records": records,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
