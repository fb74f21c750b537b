r"""Select training records with Spark, where the data is: remove duplicate questions, sample, assign splits.

It reads every format that Spark reads, and writes gzipped JSON Lines with ``prompt``, ``completion``, ``split`` and, if
there is one, the group: a source of BedrockDatasetPreparationOperator. It compares, samples and splits questions as the
operator does, so both arrive at the same records and splits. The operator applies the rules of the base model.

It needs pyspark 3.5 or later and Python 3.9 or later, and nothing else. Copy it to S3 for EMR Serverless or Glue.

    select_records.py --source s3://bucket/tickets/ --source-format parquet --prompt-field question \
        --completion-field answer --order-by created_at --max-records 20000 --output s3://bucket/selected/

The exit code is 1, and nothing is written, if a larger share of the records than ``--max-dropped-fraction`` is empty or
contradicts the record that is kept. It prints as JSON the numbers of records that it read, dropped and wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from hashlib import blake2b
from string import Formatter
from typing import Optional
from unicodedata import normalize

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, IntegralType, StringType, StructField, StructType

_KEYS = StructType(
    [StructField(name, BinaryType()) for name in ("question", "reply", "sample")] + [StructField("split", StringType())]
)


def main(arguments: Sequence[str]) -> int:
    """Read the options, select, write, and return the exit code."""
    options, _ = _parser().parse_known_args(arguments)  # Glue adds its own options
    spark = SparkSession.builder.appName("select training records").getOrCreate()
    found, counts = select(source(spark, options), options)
    lost = counts["empty"] + counts["conflicts"]
    print(json.dumps(counts))  # noqa: T201 - the job's log
    if lost > options.max_dropped_fraction * counts["read"]:
        sys.stderr.write(f"{lost} of {counts['read']} records cannot be used. Nothing was written.\n")
        return 1
    found.write.mode("overwrite").json(options.output, compression="gzip")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="select_records.py", description=__doc__)
    parser.add_argument("--source", required=True, help="a file, a folder, or with --source-format table a table")
    parser.add_argument("--source-format", default="json", choices=["json", "csv", "parquet", "orc", "table"])
    parser.add_argument("--source-sql", help="a Spark SQL query over the source, which is the table source")
    parser.add_argument("--output", required=True, help="a folder; its content is replaced")
    parser.add_argument("--prompt-field", default="prompt", help="a field, or a template over fields: {title}: {text}")
    parser.add_argument("--completion-field", default="completion")
    parser.add_argument("--group-field", help="records with the same value stay in one split")
    parser.add_argument(
        "--order-by", default="", help="comma-separated fields to sort by, which decide the first record"
    )
    parser.add_argument("--on-conflict", default="first", choices=["first", "last", "majority", "drop"])
    parser.add_argument("--max-records", type=int)
    parser.add_argument("--max-records-per-class", type=int)
    parser.add_argument("--validation-fraction", type=float, default=0.1)
    parser.add_argument("--test-fraction", type=float, default=0.1)
    parser.add_argument("--seed", default="")
    parser.add_argument("--max-dropped-fraction", type=float, default=0.05)
    return parser


def source(spark: SparkSession, options: argparse.Namespace) -> DataFrame:
    """Return the source's records."""
    if options.source_format == "table":
        frame = spark.table(options.source)
    else:
        reader = spark.read.format(options.source_format)
        if options.source_format == "csv":
            reader = reader.options(header=True, multiLine=True, escape='"')
        frame = reader.load(options.source)
    if options.source_sql:
        frame.createOrReplaceTempView("source")
        frame = spark.sql(options.source_sql)
    return frame


def select(records: DataFrame, options: argparse.Namespace) -> tuple[DataFrame, dict[str, int]]:
    """Return the selected records, and the numbers of records read, dropped and selected."""
    group = [_text(records, options.group_field).alias("of_group")] if options.group_field else []
    order = [F.col(name.strip()).alias(f"order_{name.strip()}") for name in options.order_by.split(",") if name.strip()]
    texts = records.select(
        _text(records, options.prompt_field).alias("prompt"),
        _text(records, options.completion_field).alias("completion"),
        *group,
        *order,
    )
    seed, test, validation = blake2b(options.seed.encode()).digest(), options.test_fraction, options.validation_fraction

    @F.udf(_KEYS)
    def keys(prompt: Optional[str], completion: Optional[str], group: Optional[str]) -> Optional[tuple[object, ...]]:
        return record_keys(prompt, completion, group, seed, test, validation)

    of_group = "of_group" if group else "prompt"
    keyed = texts.withColumn("keys", keys.asNondeterministic()("prompt", "completion", of_group)).cache()
    usable = keyed.where("keys IS NOT NULL").select("*", "keys.*")
    resolved = _resolved(usable, [F.col(one) for one in keyed.columns if one.startswith("order_")], options.on_conflict)
    resolved = resolved.cache()
    kept = resolved.where("n = chosen")
    wanted = _sampled(kept, options).cache()
    read = keyed.count()
    tally = resolved.agg(
        F.count("*").alias("usable"),
        F.count(F.when(F.col("n") == F.col("chosen"), 1)).alias("kept"),
        F.count(F.when((F.col("n") != F.col("chosen")) & (F.col("reply") == F.col("answer")), 1)).alias("duplicates"),
    ).first()
    assert tally is not None  # noqa: S101 - an aggregate has a row
    written = wanted.count()
    counts = {
        "read": read,
        "empty": read - tally["usable"],
        "duplicates": tally["duplicates"],
        "conflicts": tally["usable"] - tally["kept"] - tally["duplicates"],
        "not_chosen": tally["kept"] - written,
        "written": written,
    }
    named = [F.col("of_group").alias(options.group_field)] if group else []
    return wanted.orderBy("sample").select("prompt", "completion", *named, "split"), counts


def _resolved(usable: DataFrame, order: list[Column], on_conflict: str) -> DataFrame:
    """Number the records with the same question, and mark the one to keep, if any, and its answer."""
    same = Window.partitionBy("question")
    in_order = same.orderBy(*order, "prompt", "completion")
    alike = Window.partitionBy("question", "reply")
    votes = (
        usable.withColumn("n", F.row_number().over(in_order))
        .withColumn("first_n", F.min("n").over(alike))
        .withColumn("last_n", F.max("n").over(alike))
        .withColumn("votes", F.count("*").over(alike))
    )
    rank = {"last": -F.col("last_n"), "majority": -F.col("votes")}.get(on_conflict, F.col("first_n"))
    best = F.min(F.struct(rank.alias("rank"), F.col("first_n"), F.col("reply"))).over(same)
    found = votes.withColumn("best", best).withColumn("answer", F.col("best.reply"))
    chosen = F.col("best.first_n")
    if on_conflict == "drop":
        disputed = F.min("reply").over(same) != F.max("reply").over(same)
        found = found.withColumn("disputed", disputed)
        found = found.withColumn("answer", F.when(~F.col("disputed"), F.col("answer")))
        chosen = F.when(F.col("disputed"), F.lit(0)).otherwise(chosen)
    return found.withColumn("chosen", chosen)


def _sampled(kept: DataFrame, options: argparse.Namespace) -> DataFrame:
    """Take the first records by hash: the same data gives the same sample, and a larger sample contains a smaller."""
    if options.max_records_per_class:
        of_class = Window.partitionBy("reply").orderBy("sample")
        kept = kept.withColumn("place", F.row_number().over(of_class)).where(
            F.col("place") <= options.max_records_per_class
        )
    return kept.orderBy("sample").limit(options.max_records) if options.max_records else kept


def _text(records: DataFrame, name: str) -> Column:
    """Return a field as text, or a template filled from several fields; a field must be text or a whole number."""
    if "{" not in name:
        kind = records.schema[name].dataType
        if not isinstance(kind, (StringType, IntegralType)):
            raise SystemExit(
                f"{name} is {kind.simpleString()}, neither text nor a whole number. Cast it in --source-sql"
            )
        return F.col(name).cast("string")
    parts, fields = [], []
    for literal, field, _, _ in Formatter().parse(name):
        of_field = [_text(records, field)] if field else []
        parts += [F.lit(literal), *of_field]
        fields += of_field
    return F.when(F.concat(*fields).rlike(r"(?U)\S"), F.concat(*parts))  # some of them may be empty, but not all


def record_keys(
    prompt: Optional[str],
    completion: Optional[str],
    group: Optional[str],
    seed: bytes,
    test: float,
    validation: float,
) -> Optional[tuple[object, ...]]:
    """Return the keys of a record: digests of question and answer, its place in the sample, and its split.

    None is for a record without a question, an answer or a group. The hashes are those of ``airflow_bedrock.datasets``.

    :param seed: the key of the hashes.
    :param test, validation: fractions.
    """
    if not all(text is not None and text.strip() for text in (prompt, completion, group)):
        return None
    question, answer, group_text = (normalised(str(text)) for text in (prompt, completion, group))
    sample = blake2b(question, digest_size=8, key=seed, person=b"dataset sample").digest()
    place = blake2b(group_text, digest_size=8, key=seed, person=b"dataset split").digest()
    where = int.from_bytes(place, "big") / 2**64
    split = "test" if where < test else "validation" if where < test + validation else "train"
    return blake2b(question, digest_size=16).digest(), blake2b(answer, digest_size=16).digest(), sample, split


def normalised(text: str) -> bytes:
    """Return the text for comparison: Unicode NFKC, case folded, each run of white space one space."""
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return " ".join(folded.split()).encode("utf-8", "surrogatepass")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
