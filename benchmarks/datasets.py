"""Data: preparing against DuckDB, polars and pandas doing the same steps; checking against a bare typed decode.

The data is made here: short and long questions and answers in five languages, a few of them twice. It has 1 GB, and
5 GB with ``--full``. A peer that is not installed is left out, and named. Each way is measured once a round, in turn,
and its best round counts: what else the machine does can only add. ``--wait`` waits for a moment when it does nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks.harness import Figures, Subject, wait_until_idle, write_result

WORDS = {
    "en": "how do i reset the password of my account when the mail does not arrive please answer soon thanks",
    "de": "wie setze ich das Paßwort für mein Konto zurück wenn die Nachricht nicht ankommt Grüße und Dank",
    "ru": "как мне сбросить пароль от моей учётной записи если письмо не приходит спасибо заказ доставка",
    "hi": "मैं अपने खाते का पासवर्ड कैसे रीसेट करूँ अगर मेल नहीं आती धन्यवाद आदेश वितरण",
    "zh": "如 何 在 收 不 到 邮 件 时 重 置 我 的 账 户 密 码 谢 请 尽 快 回 复",
}
SHARES = {"en": 50, "de": 15, "ru": 15, "zh": 12, "hi": 8}
PEERS = ("duckdb", "polars", "pandas")
SIZE, FULL = 1000, 5000  # MB


def texts(seed: int = 7) -> Iterator[tuple[str, str]]:
    """Yield questions and answers; one in fifty asks what another has asked."""
    draw = random.Random(seed)  # noqa: S311 - no secret

    def said(language: str, least: int, most: int) -> str:
        words = draw.choices(WORDS[language].split(), k=draw.randint(least, most))
        return (
            "\uff0c".join("".join(words[n : n + 9]) for n in range(0, len(words), 9))
            if language == "zh"
            else " ".join(words)
        )

    pool = {language: [said(language, 10, 60) for _ in range(2000)] for language in WORDS}
    languages, number = draw.choices(list(SHARES), list(SHARES.values()), k=10_000), 0
    while True:
        for language in languages:
            number += draw.random() > 0.02
            phrases = pool[language]
            asked = (
                f"{number} {draw.choice(phrases)}. {draw.choice(phrases)}?"
                if number % 3
                else f"{number} {draw.choice(phrases)}"
            )
            yield asked, draw.choice(phrases)


def write(file: Path, size: int, *, chat: bool) -> None:
    """Write so many bytes of records: chats, or prompts with completions."""
    written = 0
    with file.open("wb") as out:
        for prompt, completion in texts():
            turns = (("user", prompt), ("assistant", completion))
            record: object = {"prompt": prompt, "completion": completion}
            if chat:
                messages = [{"role": role, "content": [{"text": text}]} for role, text in turns]
                record = {"schemaVersion": "bedrock-conversation-2024", "messages": messages}
            written += out.write(msgspec.json.encode(record) + b"\n")
            if written >= size:
                return


def measure(ways: Sequence[str], source: Path, rounds: int, wait: float) -> dict[str, Figures]:
    """Return what each way takes at least, in processes of their own."""
    found: dict[str, list[Figures]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            wait_until_idle(wait)
            with tempfile.TemporaryDirectory() as out:
                found[way].append(Subject(way, "datasets.py", (way, str(source), out)).measure(out))
            print(way, found[way][-1], flush=True)
    return {way: {name: min(one[name] for one in each) for name in each[0]} for way, each in found.items()}


def show(title: str, results: dict[str, Figures]) -> None:
    """Print a table of figures."""
    print(f"{title}\n{'':10}" + "".join(f"{name:>14}" for name in next(iter(results.values()))))
    for way, figures in results.items():
        print(f"{way:10}" + "".join(f"{value:14,.2f}" for value in figures.values()), flush=True)


def main(rounds: int, *, size: int = SIZE, of_preparing: int = 1, of_checking: int = 3, wait: float = 0) -> None:
    """Measure preparing and checking so many megabytes in each way, and report.

    :param rounds: of the benchmarks that are over in a moment; here fewer are enough.
    :param wait: for how many seconds at most an idle machine is waited for before each measurement.
    """
    peers = {peer: version(peer) for peer in PEERS if importlib.util.find_spec(peer) is not None}
    if missing := set(PEERS) - peers.keys():
        print(f"Not installed, so left out: {', '.join(sorted(missing))}")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        pairs, chats = Path(folder, "pairs.jsonl"), Path(folder, "chats.jsonl")
        write(pairs, size * 1_000_000, chat=False)
        prepared = measure(("ours", *peers), pairs, of_preparing, wait)
        show(f"preparing {size:,} MB", prepared)
        pairs.unlink()
        write(chats, size * 1_000_000, chat=True)
        checked = measure(("check", "decode"), chats, of_checking, wait)
        show(f"checking {size:,} MB", checked)
    ratios = {figure: checked["decode"][figure] / checked["check"][figure] for figure in ("CPU, s", "wall, s")}
    for figure, ratio in ratios.items():
        print(f"checking is at {ratio:.2f} of the bare decode, {figure}")
    figures = {"megabytes": size, "preparing": prepared, "checking": checked, "of the bare decode": ratios}
    write_result("datasets" if size == SIZE else f"datasets_{size}", {"peers": peers, **figures})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datasets", description=__doc__)
    parser.add_argument("--full", dest="size", action="store_const", const=FULL, default=SIZE, help="5 GB of data")
    parser.add_argument("--size", type=int, metavar="MB", help="so many megabytes of data (default: %(default)s)")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for an idle machine, at most")
    parser.add_argument("--preparing", type=int, default=1, metavar="N", help="rounds of preparing (default: 1)")
    parser.add_argument("--checking", type=int, default=3, metavar="N", help="rounds of checking (default: 3)")
    given = parser.parse_args()
    main(1, size=given.size, of_preparing=given.preparing, of_checking=given.checking, wait=given.wait)
