"""Conventions of the whole tree: imports are declared, every test can fail, the longest start first."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.scheduling import APART, LONGEST, SECURED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]


def distribution(requirement: str) -> str:
    """The normalized name of a distribution in a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()


def third_party(path: Path) -> Iterator[str]:
    """Top-level packages that a module imports, for type checking too, except those of the language and the project."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names | {"schemas", "streams", "tests"}:
                yield top


#: Packages of the separate environment of `tests/bench/peer_programs`; see its `requirements.in`.
PEERS_IMPORT = {"bytewax", "confluent_kafka", "quixstreams"}


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"].get("optional-dependencies", {})
    runtime = {
        distribution(each)
        for each in [*project["project"]["dependencies"], *(one for of in extras.values() for one in of)]
    }
    groups = project["dependency-groups"]
    dev = {distribution(each) for each in [*groups["dev"], *groups["build"]] if isinstance(each, str)}
    provided_by = packages_distributions()
    undeclared = set()
    for folder, declared in (("schemas", runtime), ("streams", runtime), ("tests", runtime | dev)):
        imported = {name for path in ROOT.glob(f"{folder}/**/*.py") for name in third_party(path)}
        assert imported
        for name in imported - (PEERS_IMPORT if folder == "tests" else set()):
            if not {distribution(each) for each in provided_by.get(name, [name])} & declared:
                undeclared.add(f"{folder}: {name}")
    assert undeclared == set()
    of_peers = (ROOT / "tests/bench/peer_programs/requirements.in").read_text()
    assert all(re.search(rf"^{name.replace('_', '-')}\b", of_peers, re.MULTILINE) for name in PEERS_IMPORT)


Function = ast.FunctionDef | ast.AsyncFunctionDef
#: Calls that fail a test by themselves: pytest's, Playwright's, and JSON Schema's.
FAILING_CALLS = {"raises", "warns", "fail", "expect", "validate"}


def asserts(function: Function) -> bool:
    """Whether a function has an assertion that can fail in its own body."""
    for node in ast.walk(function):
        match node:
            case ast.Assert(test=condition) if not isinstance(condition, ast.Constant):
                return True
            case ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
                return True
            case _:
                pass
    return bool(called_by(function) & FAILING_CALLS)


def called_by(function: Function) -> set[str]:
    """Names of the functions and methods that a function calls."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    methods = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    return methods | {call.id for call in calls if isinstance(call, ast.Name)}


def without_assertion(sources: Iterable[str]) -> set[str]:
    """Tests in which nothing can fail, neither in themselves nor in the helpers that they call."""
    functions = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]
    asserting = {function.name for function in functions if asserts(function)}
    while more := {f.name for f in functions if f.name not in asserting and called_by(f) & asserting}:
        asserting |= more
    return {f.name for f in functions if f.name.startswith("test_") and not (asserts(f) or called_by(f) & asserting)}


def test_every_test_can_fail() -> None:
    assert without_assertion(path.read_text() for path in ROOT.glob("tests/**/*.py")) == set()


def test_a_test_that_cannot_fail_is_found() -> None:
    helper = "def check(): assert found()\ndef found(): return 1\n"
    tests = "def test_one(): check()\ndef test_two(): found()\ndef test_three(): assert True\n"
    assert without_assertion([helper, tests]) == {"test_two", "test_three"}


def test_what_is_dealt_out_first_is_there() -> None:
    """Otherwise a run in several processes could end with the longest tests."""
    assert [file for file in (*LONGEST, *APART) if not (ROOT / file).is_file()] == []
    assert {*APART, *SECURED} <= set(LONGEST)
