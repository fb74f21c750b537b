"""Find words that must not come back: in docs, docstrings, comments, messages and names of tests; suggest others.

``make lint`` runs it. A message is any text of more than three words. A docs page is checked unchanged, and so are
tests' names, since its tables quote them.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

WORDS = {
    r"\blooks? (at|for) (the|a|its) (job|deployment|model|bucket)s?\b": "poll, read, check",
    r"\b(between|after|so many) (two |\w+ )?looks\b": "polls",
    r"\blooks? again\b|\blooking again\b|\bwill look\b": "poll again",
    r"\bmay not look\b|\brefused to tell\b": "access denied to",
    r"\bno answer (about|from|of|was)\b|\bhas not answered for\b": "no response",
    r"\b(was|is) to be had\b|\bthe end will show\b|\bso many \w+ are\b": "say it as one would aloud",
    r"\bwhoever\b": "the task, the caller, the user, anybody who",
    r"\b(mend|mends|mended|mendable)\b": "fix",
    r"\b(is|are|was|were|be) told of\b|\b(not|to|and|does|do) tell of\b": "say, report, is notified of",
    r"\bmay be had\b|\bthat is to be had\b|\ba good beginning\b": "is available; start with",
    r"\bby whose word\b|\bstands? (against|in) (nothing|no other's way)\b": "who approved it; does not block",
    r"\bis no more than so many\b|\bkeep so many\b|\btake a sample of so many\b": "number of",
    r"\bcould not be learnt\b|\bcannot be learnt\b": "could not be read",
    r"\bhas no room\b|\bthere is room\b|\bfinds? room\b": "quota, slot",
    r"\b(status|state|operation|region|model) that is not known\b": "unknown",
    r"\bis not known; known are\b": "unknown …; allowed: …",
    r"\bhow it fares\b|\bhealth of\b.*\bunknown\b": "in an unknown state",
    r"\bspares? a\b": "saves",
    r"\b(is|are|was|were|be) (never |not )?looked at\b|\b(a|one|two|first|last|next) looks?\b": "poll, read, check",
    r"\bheld against\b|\bstands? against (it|the)\b": "checked against; no check failed",
    r"\b(did|does|do) not tell\b|\btells? of\b|\bhears? of\b": "say, return, respond; learns of, is notified of",
    r"\b(comes?|came|come) out differently\b": "differs, renders differently",
    r"\b(needed|promoted|shared|wanted) no (longer|more)\b": "is no longer needed, promoted, shared",
    r"\bbudget reach(es)?\b|\bnot known before\b(?! the)": "the budget covers; not known in advance",
    r"\b(loses?|lost) patience\b|\bsilence without\b": "timeout, no response",
    r"(?-i:\b(is|are|be) none\b)": "does not exist, has no",
    r"\bruns? on and\b|\bmay run on\b|\b(had|has|have) ended already\b": "still runs; has already ended",
    r"\bleft as (it is|they are)\b|\bslash at its end\b": "left unchanged, left running; ends in a slash",
    r"\banother try (adopts|asks|continues|lists|reads|waits)\b": "a retry",
}
NAMES = {
    r"_(look|looks|looked|looking)(_|$)": "polls, reads, checks",
    r"_(told|tells|hears|mends?)(_|$)": "reported, says, gets, fixes",
    r"_that_(is|are)_none(_|$)|_cannot_be_learnt(_|$)": "invalid; cannot be read",
    r"^test_who_(is|has|was|gets|comes|waits|asks|cannot|wants)_": "a task that …, the watcher that …",
}
_OWN = {"prose.py", "test_prose.py"}  # which name the words
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in WORDS.items()]
_NAME_PATTERNS = [(re.compile(pattern), instead) for pattern, instead in NAMES.items()]
_CODE = re.compile(r"^```.*?^```|`[^`]*`", re.MULTILINE | re.DOTALL)


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each text in a file that a person reads, with the number of its first line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(_CODE.sub(lambda code: "\n" * code[0].count("\n"), text).splitlines(), 1)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 2:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the name of each test of a file, with its line."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.lineno, node.name


def findings(path: Path) -> Iterator[str]:
    """Yield the wrong words in a file."""
    said = [(*one, _PATTERNS) for one in sentences(path)] + [(*one, _NAME_PATTERNS) for one in names(path)]
    for line, text, patterns in said:
        for pattern, instead in patterns:
            if found := pattern.search(text):
                yield f"{path}:{line}: {found[0]!r}: write instead: {instead}"


def main(roots: list[str]) -> int:
    """Check the files under the roots; return the exit code."""
    files = [file for root in map(Path, roots) for file in ([root] if root.is_file() else sorted(root.rglob("*")))]
    files = [file for file in files if file.suffix in {".md", ".py"} and file.name not in _OWN]
    found = [one for file in files for one in findings(file)]
    print("\n".join(found) if found else "Prose: no word that must not come back")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
