"""When two texts count as the same: by a definition of one line, however it is computed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_bedrock.base_models import by_script, document
from airflow_bedrock.datasets.records import normalised

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
_ODD = "aA \t\n\x1c\x85\u00a0\u2028\u3000\uff0c\uff1f\ufb01\u0345\u0130\xdf\u0435\u0301\x01\u1680\u2029"
ODD = st.text(alphabet=st.sampled_from(_ODD))


def definition(text: str) -> bytes:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split()).encode()


@given(TEXT | ODD)
@example("A  b\t C\n")
def test_normalise(text: str) -> None:
    """Unicode NFKC, case folded, each run of white space one space."""
    assert normalised(text) == definition(text)


def test_normalise_each_character() -> None:
    """Of the basic plane, alone and beside others."""
    for code in range(0x10000):
        if not 0xD800 <= code < 0xE000:
            text = f"A{chr(code)}\u0301 \uff0c{chr(code)}"
            assert normalised(text) == definition(text), hex(code)


SCRIPTS = ["plain ascii", "Grüße ÀÞ\xd7", "Ключ Ѐ", "मैं क़ाबू", "謝謝 字", "如\uff0c何", "“Ω”"]


def scripts_of(text: str) -> list[int]:
    return by_script(text.encode("utf-8", "surrogatepass"), len(text))


def counts_by_first_byte(text: str) -> list[int]:
    firsts = [bytes.fromhex(one.first_bytes) for one in document().scripts]
    counts = [sum(one.encode("utf-8", "surrogatepass")[0] in script for one in text) for script in firsts]
    return [len(text) - sum(counts), *counts]


@given(TEXT | st.sampled_from(SCRIPTS))
@example("é字яह🙂")
@example("\ud800 字")
def test_characters_by_script(text: str) -> None:
    """A character's script is recognized by its first byte in UTF-8."""
    assert scripts_of(text) == counts_by_first_byte(text)


def test_characters_of_one_kind() -> None:
    """Of every size and first byte, beside ASCII and beside another kind."""
    for code in range(0x80, 0x110000, 61):
        for text in (f"a {chr(code) * 3}", f"{chr(code)}é字"):
            assert scripts_of(text) == counts_by_first_byte(text), hex(code)


@pytest.mark.parametrize(
    ("character", "script"), [("a", 0), ("é", 0), ("“", 0), ("字", 1), ("한", 1), ("🙂", 1), ("я", 2), ("ह", 2)]
)
def test_scripts(character: str, script: int) -> None:
    """Latin and others, Chinese with its neighbours, and the others."""
    assert scripts_of(character).index(1) == script
