"""The check of words that ``make lint`` runs finds what it is for, and nothing in code or in quoted code."""

from pathlib import Path

import pytest

from scripts import prose


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("page.md", "The wait ends when no answer was had.", ["page.md:1: 'no answer was'"]),
        ("page.md", "The option `no answer of` is code.\n```\nno answer of\n```\nMend it.", ["page.md:5: 'Mend'"]),
        ("code.py", 'log.warning("The job will be mended: the bucket may be hidden")\n', ["code.py:1: 'mended'"]),
        ("code.py", 'no_answer = {"mend": 1}  # a name and a key are no sentences\n', []),
        ("code.py", "job = 1  # there is none\nfound = job is None\n", ["code.py:1: 'is none'"]),
        (
            "test_it.py",
            "def test_a_look_at_it() -> None: ...\ndef look_at() -> None: ...\n",
            ["test_it.py:1: '_look_'"],
        ),
    ],
)
def test_findings(tmp_path: Path, name: str, text: str, found: list[str]) -> None:
    """A sentence is checked in a page and in a message, and the name of a test; other code is not."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert [one.removeprefix(f"{tmp_path}/").split(": write")[0].lower() for one in prose.findings(file)] == [
        one.lower() for one in found
    ]


def test_the_exit_code_fails_lint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One finding fails ``make lint`` and says what to write instead."""
    (tmp_path / "page.md").write_text("Access is what Bedrock refused to tell.", encoding="utf-8")
    assert prose.main([str(tmp_path)]) == 1
    assert "write instead: access denied to" in capsys.readouterr().out
    (tmp_path / "page.md").write_text("Access was denied.", encoding="utf-8")
    assert prose.main([str(tmp_path)]) == 0
