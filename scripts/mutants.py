"""Change the package in one small place at a time, and say which changes no test notices.

It samples mutants at random. Each is made in a copy of the tree, where the tests that reach the changed line run, the
quickest files first, until one fails. ``--record`` first records which test runs which lines.

mutmut does not sample and skips code outside functions; Cosmic Ray deletes no statements and runs the same tests for
each mutant. Here one test in ten takes seconds, and the defaults of operators matter most.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
RECORD = ROOT / ".cache" / "mutants" / "tests.jsonl"
_RECORD_TO = "MUTANTS_RECORD_TO"
# What is slow to load is loaded once: most mutants are killed by the first tests. Not Airflow, whose home is a test's.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["aiobotocore.session", "altair", "fastapi", "libcst", "moto.server", "nltk", "sklearn.metrics", "sqlalchemy.orm"]
)
_PACKAGE = str(ROOT / "airflow_bedrock")

_OPPOSITES: dict[type[ast.AST], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BOUNDARIES: dict[type[ast.AST], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_ARITHMETIC: dict[type[ast.AST], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Statements that are run as a whole.
_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.Assert, ast.Delete)
_EVERYWHERE = (0, sys.maxsize)


class Mutant(NamedTuple):
    """A change of one place.

    :param reach: the first and the last of the lines one of which a test has to run.
    :param start: where the bytes begin that the replacement stands for.
    """

    file: str
    line: int
    reach: tuple[int, int]
    start: int
    end: int
    replacement: str

    def applied(self, source: bytes) -> bytes:
        """Return the file's content with the change."""
        return source[: self.start] + self.replacement.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        """Return the lines that differ."""
        before, after = source.decode().splitlines(), self.applied(source).decode().splitlines()
        lines = difflib.unified_diff(before, after, n=0, lineterm="")
        return "\n".join(f"    {line}" for line in lines if not line.startswith(("---", "+++", "@@")))


def mutants(file: str, source: bytes) -> list[Mutant]:
    """Return all changes of a file that can be made; docstrings, annotations and decorators stay."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(source)
    stored = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and type(node.ctx) is ast.Store)
    found = []
    for node, reach in _nodes(tree, _EVERYWHERE):
        for old, new in _changes(node, stored):
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0)
            replacement = new if isinstance(new, str) else f"({ast.unparse(new)})"
            found.append(Mutant(file, old.lineno, reach or _lines(old), start, end, replacement))
    return found


def _nodes(node: ast.AST, reach: tuple[int, int] | None) -> Iterator[tuple[ast.AST, tuple[int, int] | None]]:
    """Yield what may be changed below a node, each with the lines that reach it; None for those of its own.

    Those of a statement reach all of it, those of a function its defaults, and those of a file what is in no function.
    """
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list") or (
            field == "keywords" and isinstance(node, ast.ClassDef)
        ):
            continue
        below = None if field == "body" and isinstance(node, _FUNCTIONS) else reach
        children = value if isinstance(value, list) else [value]
        if field == "args" and isinstance(node, ast.Call) and ast.unparse(node.func) == "cast":
            children = children[1:]  # a type
        for child in children:
            if not isinstance(child, ast.AST) or _stays(child):
                continue
            within = below
            if isinstance(child, _FUNCTIONS) or (below is None and isinstance(child, _SIMPLE)):
                within = _lines(child)
            yield child, within
            if not isinstance(child, ast.JoinedStr):  # Python 3.11 does not say where the parts of one are
                yield from _nodes(child, within)


def _lines(node: ast.stmt | ast.expr) -> tuple[int, int]:
    return node.lineno, node.end_lineno or node.lineno


def _stays(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Subscript(value=ast.Name(id="Literal")) | ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


def _changes(node: ast.AST, stored: Counter[str]) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST | str]]:
    """Yield what is replaced, and by what."""
    match node:
        case ast.Compare(left=left, ops=[op, *ops], comparators=right):
            for table in (_OPPOSITES, _BOUNDARIES):
                if type(op) in table:
                    yield node, ast.Compare(left, [table[type(op)](), *ops], right)
        case ast.BoolOp(op=op, values=values):
            yield node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            yield node, ast.BinOp(left, _ARITHMETIC[type(op)](), right)
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(number) | float(number)):
            yield node, ast.Constant(number + 1)
        case ast.Constant(value=str(text)):
            yield node, ast.Constant("" if text else "mutant")
        case ast.JoinedStr():
            yield node, ast.Constant("")
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if not isinstance(test, (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Constant)):
                yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield node, "return"
        case ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign() | ast.Expr(value=ast.Call() | ast.Await()):
            yield node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"
        case ast.Assign(targets=[ast.Name(id=name)]) if stored[name] > 1:  # else each use of it would fail
            yield node, "pass"


# Recording, as a plugin of pytest: python -m pytest -p scripts.mutants.

_run_lines: set[tuple[str, int]] = set()


def _trace(frame: FrameType, event: str, argument: object) -> Any:
    """Note a line of the package; but of Local Bedrock, which trains models in Python, line by line."""
    file = frame.f_code.co_filename
    if not file.startswith(_PACKAGE) or file.startswith(f"{_PACKAGE}/local/"):
        return None
    _run_lines.add((file, frame.f_lineno))
    return _trace


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record which lines a test runs, and how long it takes."""
    if _RECORD_TO not in os.environ:
        return (yield)
    _run_lines.clear()
    began = time.monotonic()
    threading.settrace(_trace)
    sys.settrace(_trace)
    try:
        return (yield)
    finally:
        sys.settrace(None)
        threading.settrace(None)
        lines: dict[str, list[int]] = defaultdict(list)
        for file, number in sorted(_run_lines):
            lines[os.path.relpath(file, ROOT)].append(number)
        line = {"test": item.nodeid, "seconds": time.monotonic() - began, "lines": lines}
        with Path(os.environ[_RECORD_TO]).open("a") as record:
            record.write(json.dumps(line) + "\n")


def record(tests: list[str]) -> None:
    """Run the tests, and note which lines each of them runs; what is known of other tests stays."""
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    known = RECORD.read_text().splitlines(keepends=True) if RECORD.exists() else []
    RECORD.write_text("".join(line for line in known if not json.loads(line)["test"].startswith(tuple(tests))))
    options = ["-q", "-p", "scripts.mutants", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), _RECORD_TO: str(RECORD)}, check=False)


class Tests:
    """Which tests run a line, by the record.

    :param budget: seconds that the tests of one mutant may take, as recorded.
    """

    def __init__(self, budget: float) -> None:
        known = {line["test"]: line for line in map(json.loads, RECORD.read_text().splitlines())}
        self._seconds = {test: line["seconds"] for test, line in known.items()}
        self._of: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for test, line in known.items():
            for file, numbers in line["lines"].items():
                for number in numbers:
                    self._of[file][number].add(test)
        self._budget = budget

    def of(self, mutant: Mutant) -> tuple[list[str], float]:
        """Return the tests that reach it, the quickest files first; and their time."""
        (first, last), lines = mutant.reach, self._of[mutant.file]
        tests = {test for number in lines if first <= number <= last for test in lines[number]}
        files: dict[str, list[str]] = defaultdict(list)
        for test in filter(tests.__contains__, self._seconds):  # in a file the order stays: some tests rely on it
            files[test.partition("::")[0]].append(test)
        chosen, seconds = list[str](), 0.0
        for file in sorted(files, key=lambda file: sum(self._seconds[test] for test in files[file])):
            for test in files[file]:
                if seconds + self._seconds[test] <= self._budget:
                    chosen.append(test)
                    seconds += self._seconds[test]
        return chosen, seconds


def copy_of_tree(place: Path) -> Path:
    """Copy the files that Git knows, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    for name in filter(None, listed.stdout.split("\0")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    return place


def verdict(mutant: Mutant, tree: Path, tests: Tests) -> str:
    """Return ``survived``, or what killed it."""
    chosen, seconds = tests.of(mutant)
    if not chosen:
        return "survived: no test runs it"
    file = tree / mutant.file
    source = file.read_bytes()
    try:
        _write(file, mutant.applied(source))
        code, output = _run(chosen, tree, 60 + 4 * seconds)
    finally:
        _write(file, source)
    if code == 0:
        return f"survived: {len(chosen)} tests"
    failed = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if (not failed and code is not None) or "ERROR: not found" in output:  # --record their file again
        raise RuntimeError(f"the tests of {mutant.file}:{mutant.line} did not run:\n{output}")
    return f"killed: {failed[-1].split(' - ')[0] if failed else 'timeout'}"


def _write(file: Path, content: bytes) -> None:
    """Write a file, and forget what was compiled of it: a change of the same second and length would not be seen."""
    file.write_bytes(content)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)


def _run(tests: list[str], tree: Path, seconds: float) -> tuple[int | None, str]:
    """Run tests in a tree until one fails; return the exit code, None after the timeout, and the output."""
    with tempfile.NamedTemporaryFile("r") as output:
        running = _FORKS.Process(target=_tests, args=(tests, str(tree), output.name))
        running.start()
        running.join(seconds)
        code = running.exitcode
        if code is None:
            os.killpg(running.pid or 0, signal.SIGKILL)
        running.join()
        return code, output.read()


def _tests(tests: list[str], tree: str, output: str) -> None:
    """Run in a separate process, which has loaded nothing of the package."""
    os.setsid()
    os.chdir(tree)
    os.environ["PYTHONPATH"] = tree
    sys.path[:] = [tree, *(path for path in sys.path if path != str(ROOT))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("airflow_bedrock", "scripts", "tests")]:
        del sys.modules[name]
    with Path(output).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore:Module already imported"]
    sys.exit(pytest.main([*options, *tests]))


def main() -> int:
    """Sample mutants, run their tests, and print the survivors and the score of each file."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", default=["airflow_bedrock/jobs"], help="files or folders of the package")
    parser.add_argument("--number", type=int, default=20, help="number of mutants (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests for each (default: %(default)s)")
    parser.add_argument("--record", nargs="+", metavar="TESTS", help="run these, and note which lines they run")
    arguments = parser.parse_args()
    if not (arguments.record or RECORD.exists()):
        parser.error("there is no record yet: first run make mutants ARGS='--record tests/unit tests/integration'")
    os.nice(10)
    if arguments.record:
        record(arguments.record)
        return 0
    paths = [
        path for given in map(Path, arguments.files) for path in ([given] if given.is_file() else given.rglob("*.py"))
    ]
    sources = {str(path): path.read_bytes() for path in sorted(paths)}
    possible = [one for file, source in sources.items() for one in mutants(file, source)]
    draw = random.Random(arguments.seed)  # noqa: S311  # a seed says which
    drawn = draw.sample(possible, min(arguments.number, len(possible)))
    if moved := [file for file in sources if Path(file).stat().st_mtime > RECORD.stat().st_mtime]:
        print(f"These files have changed since the record: {', '.join(moved)}", file=sys.stderr)
    tests, scores = Tests(arguments.budget), defaultdict[str, Counter[str]](Counter)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(arguments.processes) as pool:
        trees = SimpleQueue[Path]()
        for number in range(arguments.processes):
            trees.put(copy_of_tree(Path(place) / str(number)))

        def judged(mutant: Mutant) -> tuple[Mutant, str]:
            tree = trees.get()
            try:
                return mutant, verdict(mutant, tree, tests)
            finally:
                trees.put(tree)

        for mutant, said in pool.map(judged, drawn):
            scores[mutant.file][said.partition(":")[0]] += 1
            print(f"{mutant.file}:{mutant.line}: {said}\n{mutant.diff(sources[mutant.file])}", flush=True)
    for file, score in sorted(scores.items()):
        print(f"{file}: {score['killed']} of {score.total()}")
    print(f"{sum(score['killed'] for score in scores.values())} of {len(drawn)} mutants killed, seed {arguments.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
