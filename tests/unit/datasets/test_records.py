"""When two texts count as the same: by a definition of one line, however it is computed."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_bedrock.base_models import by_script, document
from airflow_bedrock.datasets.records import normalised, text_digest

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
    assert text_digest(text) == hashlib.blake2b(definition(text), digest_size=16).digest()


def test_normalise_each_character() -> None:
    """Of the basic plane, alone and beside others."""
    for code in range(0x10000):
        if not 0xD800 <= code < 0xE000:
            text = f"A{chr(code)}\u0301 \uff0c{chr(code)}"
            assert normalised(text) == definition(text), hex(code)


def test_normalise_characters_that_are_inert() -> None:
    """Every character among those that need no NFKC, and each of those beside some that they could join."""
    inert = [chr(code) for code in [*range(0x80), *range(0xC0, 0x100), *range(0x400, 0x480), *range(0x4000, 0xA000)]]
    known = set(inert)
    for code in range(0x30000):
        if not 0xD800 <= code < 0xE000 and known.issuperset(chr(code).casefold()):
            text = f"Aß{chr(code)}Й字"
            assert normalised(text) == definition(text), hex(code)
    without_case = [chr(code) for code in range(0x800, 0x1000)]
    for one in inert + without_case:
        text = f"{one}{one}a{one}\n {one}e\xe9{one}"
        assert normalised(text) == definition(text), hex(ord(one))


SCRIPTS = ["plain ascii", "Grüße ÀÞ\xd7", "Ключ Ѐ", "मैं क़ाबू", "謝謝 字", "如\uff0c何", "“Ω”"]


@given(TEXT | st.sampled_from(SCRIPTS))
@example("é字яह🙂")
@example("\ud800 字")
def test_characters_by_script(text: str) -> None:
    """A character's script is recognized by its first byte in UTF-8."""
    firsts = [bytes.fromhex(one.first_bytes) for one in document().scripts]
    counts = [sum(one.encode("utf-8", "surrogatepass")[0] in script for one in text) for script in firsts]
    assert by_script(text) == [len(text) - sum(counts), *counts]


@pytest.mark.parametrize(
    ("character", "script"), [("a", 0), ("é", 0), ("“", 0), ("字", 1), ("한", 1), ("🙂", 1), ("я", 2), ("ह", 2)]
)
def test_scripts(character: str, script: int) -> None:
    """Latin and others, Chinese with its neighbours, and the others."""
    assert by_script(character).index(1) == script
