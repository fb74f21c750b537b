"""The structure: no import cycle, and arrows one way, from the face over the engine to the core.

Every import counts: at the top of a module, within a function, and for types alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_bedrock"

# What all may know; "" is the version.
FACTS = {"_lazy", "aws_errors", "base_models", "cli", "decoding", "prices", "shapes", "uris", ""}
FOR_TASKS = {*FACTS, "compat", "configuration", "exceptions", "shown"}
CORE = {"customization", *FOR_TASKS}
ENGINE = {"jobs", *CORE}
FACE = {"hooks", "operators", "sensors", "triggers", "links"}
MAY_IMPORT = {
    **dict.fromkeys(FACTS, FACTS),
    "compat": {"_lazy"},
    "exceptions": {*FACTS, "compat"},
    "form": {*FACTS, "exceptions", "hooks.bedrock", "storage"},
    "get_provider_info": FACTS,
    "configuration": {"compat", "get_provider_info"},
    "shown": {*FACTS, "customization"},
    "customization": FACTS,
    "datasets": FACTS,
    "evaluation": {*FACTS, "datasets", "jobs.no_response"},
    "hooks": {*CORE, "registry", "converse", "jobs"},
    "jobs": {*CORE, "hooks.bedrock"},
    "links": CORE,
    "notifications": {*FACTS, "customization", "shown"},
    "plugin": {*FACTS, "configuration", "customization", "shown", "hooks.bedrock"},
    "registry": {*ENGINE, "hooks", "json_store"},
    "spend": {*ENGINE, "hooks", "json_store", "datasets", "storage"},
    "storage": FOR_TASKS,
    "json_store": FOR_TASKS,
    "converse": {*FOR_TASKS, "evaluation"},
    "triggers": {*ENGINE, "hooks"},
    "sensors": {*ENGINE, "hooks", "triggers", "links", "operators.arguments", "operators.base", "spend"},
    "operators": {*ENGINE, *FACE, "registry", "spend", "storage", "converse", "datasets", "evaluation"},
    "local": {*FACTS, "datasets.rules"},
    "cli": {*FACTS, "compat", "customization", "datasets", "jobs", "local.command", "registry", "spend"},
}
NO_AIRFLOW = {*FACTS, "customization", "datasets", "evaluation", "local"}
TESTS_A_DAG = "airflow_bedrock.local.dag_test"  # for who tests a DAG, in whose process Airflow is


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """The package's modules by their names."""
    return {name_of(file): file for file in sorted((ROOT / PACKAGE).rglob("*.py"))}


@cache
def imports(file: Path) -> frozenset[str]:
    """What a file imports: modules, and names in them."""
    return frozenset(_imports(file))


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(name: str) -> set[str]:
    """Return the package's own modules that a module imports."""
    found = set()
    for target in imports(modules()[name]):
        if target.partition(".")[0] == PACKAGE:
            found.add(target if target in modules() else target.rpartition(".")[0])
    assert found <= modules().keys(), f"{name} imports what is not there"
    return found - {name}


def within(module: str, place: str) -> bool:
    full = f"{PACKAGE}.{place}".rstrip(".")
    return module == full or (place != "" and module.startswith(f"{full}."))


def room_of(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]


def test_there_is_no_import_cycle() -> None:
    """Each module can be understood from those that it imports."""
    graph = {name: imported_modules(name) for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' ← '.join(error.args[1])}")


def test_arrows_go_one_way() -> None:
    """From the face to the engine to the core; what is local is a world of its own."""
    wrong = [
        f"{name} imports {target}"
        for name in modules()
        for target in imported_modules(name)
        if room_of(target) != room_of(name) and not any(within(target, place) for place in MAY_IMPORT[room_of(name)])
    ]
    assert sorted(wrong) == []


def test_every_folder_has_its_rule() -> None:
    """And every rule has a folder."""
    assert {room_of(name) for name in modules()} == MAY_IMPORT.keys()


def test_the_core_knows_no_airflow() -> None:
    """What a job is asked for, what a dataset is, and which model is better are known without a scheduler."""
    wrong = [
        f"{name} imports {target}"
        for name, file in modules().items()
        if room_of(name) in NO_AIRFLOW and name != TESTS_A_DAG
        for target in imports(file)
        if target.partition(".")[0] == "airflow"
    ]
    assert wrong == []


def test_one_adapter_to_moto() -> None:
    """What moto changes is changed in one module."""
    users = {name for name, file in modules().items() for one in imports(file) if one.partition(".")[0] == "moto"}
    assert users == {"airflow_bedrock.local.moto"}


def test_tests_import_nothing_from_benchmarks() -> None:
    """What both need is no benchmark."""
    found = [
        f"{file.relative_to(ROOT)} imports {target}"
        for file in (ROOT / "tests").rglob("*.py")
        for target in imports(file)
        if target.partition(".")[0] == "benchmarks"
    ]
    assert found == []


def test_no_function_takes_an_operator() -> None:
    """The engine is handed frozen values; but for Airflow itself, which hands its links an operator."""
    wrong = [
        f"{name}:{function.lineno} takes {argument.arg}"
        for name, file in modules().items()
        if room_of(name) != "local"  # which knows no Airflow
        for function in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and function.name != "get_link"
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if _is_operator(argument)
    ]
    assert wrong == []


def test_one_value_copies_the_connection() -> None:
    """What identifies a connection is frozen once, and passed on as a whole.

    The operator's base gathers what the user gave, and a hook makes hooks beside itself.
    """
    fields = {"aws_conn_id", "region_name", "verify"}
    found = {
        name
        for name, file in modules().items()
        for node in ast.walk(ast.parse(file.read_bytes()))
        if fields <= _names_given(node)
    }
    assert found == {f"{PACKAGE}.{name}" for name in ("operators.base", "hooks.bedrock")}


def _names_given(node: ast.AST) -> set[str]:
    """Return the keys of a mapping, or the keywords of a call; but for the one that freezes the connection."""
    if isinstance(node, ast.Dict):
        return {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    if isinstance(node, ast.Call) and ast.unparse(node.func) != "Connection.of":
        return {keyword.arg for keyword in node.keywords if keyword.arg}
    return set()


def test_worker_and_triggerer_share_the_rules_of_waiting() -> None:
    """How long a wait goes on without a response, and when it believes that nothing is there."""
    users = {name for name in modules() if f"{PACKAGE}.jobs.no_response" in imported_modules(name)}
    assert {f"{PACKAGE}.{name}" for name in ("jobs.waiting", "jobs.planner", "triggers.resource")} <= users


def test_a_test_has_a_docstring() -> None:
    """CONTRIBUTING.md asks for one sentence."""
    without = [
        f"{file.relative_to(ROOT)}::{node.name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
        if not ast.get_docstring(node)
    ]
    assert without == []


NAMES_THAT_SAY_NOTHING = {
    *("asking", "answers", "connected", "footprint", "hiding", "keeper", "lookout", "places", "shelf", "summaries")
}


def test_names_say_what_a_thing_is() -> None:
    """No module has a name that says nothing, and no function or attribute, unless it returns answers of a model."""
    named = {(name, name.rpartition(".")[2]) for name in modules()}
    for module, file in modules().items():
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.endswith("answers"):
                named.add((module, node.name.strip("_")))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                if not node.attr.endswith("answers"):
                    named.add((module, node.attr.strip("_")))
            elif isinstance(node, ast.ClassDef):
                fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
                named.update((module, one.id) for one in fields if isinstance(one, ast.Name) and one.id != "answers")
    assert {(module, name) for module, name in named if name in NAMES_THAT_SAY_NOTHING} == set()


def _is_operator(argument: ast.arg) -> bool:
    """By its annotation or by its name: ``operator``, or ``task``, unless that is an id."""
    says = ast.unparse(argument.annotation) if argument.annotation else ""
    return bool(re.search(r"Operator\b", says)) or (argument.arg in ("task", "operator") and says != "str")
