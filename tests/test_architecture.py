"""What may import what: imports point one way, and what travels or decides stays free of Kafka."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("schemas/**/*.py"), *ROOT.glob("streams/**/*.py")])

#: Packages that may be imported only in some places; the rest of the standard library is free.
ONLY_IN = {
    "faust": ("streams.app", "streams.worker.agents", "streams.worker.assignor", "streams.kafka.transport"),
    "orjson": ("schemas",),
    "msgspec": ("schemas", "streams.domain", "streams.kafka.records"),
    "numpy": (
        "schemas",
        "streams.lookup.postings",
        "streams.domain.counts.asked_units",
        "streams.domain.counts.counted_units",
        "streams.domain.forecasts.day_effects",
        "streams.domain.forecasts.forecast_range",
        "streams.domain.forecasts.level_shift",
        "streams.domain.forecasts.pace",
        "streams.domain.orders.packed_columns",
        "streams.domain.counts.restored_units",
    ),
    "babel": ("streams.web", "streams.wording"),
    "fastapi": ("streams.web",),
    "jinja2": ("streams.web",),
    "starlette": ("streams.web",),
    "uvicorn": ("streams.web",),
}
#: What the recount may use of the domain: data, and what ids mean.
RECOUNT_MAY_IMPORT = ("streams.domain.time.calendar", "streams.domain.orders.packing", "streams.domain.time.periods")
#: The web view reads what is published, and the changelog through `lookup`: it knows neither how it is written nor the
#: sources and how they are recounted. Of the lower layers, it may use these.
WEB_MAY_IMPORT = (
    "streams.web",
    "streams.spreadsheets",
    "streams.domain.time.calendar",
    "streams.domain.time.daytypes",
    "streams.domain.scopes.limit_usage",
    "streams.domain.hints.suggestions",
    "streams.domain.time.periods",
    "streams.domain.hints.likely_slips",
    "streams.domain.time.zone",
    "streams.errors",
    "streams.events",
    "streams.wording",
    "streams.holidays",
    "streams.kafka.admin",
    "streams.kafka.clients",
    "streams.kafka.long_poll",
    "streams.kafka.records",
    "streams.kafka.topic_ids",
    "streams.lookup",
    "streams.settings",
    "streams.web_addresses",
    "streams.wrong_values",
)
SCHEMAS_MAY_IMPORT = {
    "cramjam",
    "pydantic",
    "pydantic_core",
    "msgspec",
    "orjson",
    "numpy",
    "typing_extensions",
    "annotated_types",
}


def name_of(path: Path) -> str:
    """Dotted module name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Everything a module imports, anywhere in it, except for type checking only."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module is one of the packages or inside one."""
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def test_the_layers_hold() -> None:
    """What may import what is defined in `.importlinter`, with every folder and module of `streams` in a layer."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    module = name_of(path)
    for imported in imports_of(path):
        package = imported.partition(".")[0]
        if package in ONLY_IN:
            assert within(module, ONLY_IN[package]), f"{module} imports {imported}"


#: Modules that would give a rule a clock, randomness or access to the outside world.
IMPURE_MODULES = {
    "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil", "socket",
    "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}
IMPURE_METHODS = {"now", "utcnow"}


def impurities(source: str) -> list[str]:
    """Uses of a clock, of randomness or of the outside world in a module, with their lines.

    `fromtimestamp` counts where no zone is given: it then asks the machine for one.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [f"{node.lineno}: {a.name}" for a in names if a.name.partition(".")[0] in IMPURE_MODULES]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in IMPURE_MODULES:
                found.append(f"{node.lineno}: {module}")
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                found.append(f"{node.lineno}: {name}()")
            case ast.Attribute(attr=name) if name in IMPURE_METHODS:
                found.append(f"{node.lineno}: .{name}")
            case ast.Attribute(
                attr="today", value=ast.Name(id="date" | "datetime") | ast.Attribute(attr="date" | "datetime")
            ):
                found.append(f"{node.lineno}: .today")
            case ast.Call(func=ast.Attribute(attr="fromtimestamp"), args=arguments, keywords=[]) if len(arguments) < 2:
                found.append(f"{node.lineno}: .fromtimestamp without a zone")
            case _:
                pass
    return found


@pytest.mark.parametrize("path", sorted(ROOT.glob("streams/domain/**/*.py")), ids=name_of)
def test_the_rules_are_values_in_values_out(path: Path) -> None:
    assert impurities(path.read_text()) == []
    for imported in imports_of(path):
        package = imported.partition(".")[0]
        allowed = package in sys.stdlib_module_names or package == "schemas" or within(imported, ("streams.domain",))
        allowed = allowed or (package == "numpy" and name_of(path) in ONLY_IN["numpy"])
        assert allowed, f"{name_of(path)} imports {imported}"


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.time()",
        "from time import time_ns",
        "from datetime import datetime; datetime.now()",
        "import datetime; datetime.datetime.now(datetime.UTC)",
        "from datetime import date; date.today()",
        "import datetime as clock; clock.date.today()",
        "from datetime import datetime; clock = datetime.utcnow",
        "from datetime import datetime; datetime.fromtimestamp(0)",
        "import random",
        "open('x')",
        "import os.path",
        "def f():\n    import asyncio",
    ],
)
def test_the_check_of_the_rules_can_fail(source: str) -> None:
    assert impurities(source)


@pytest.mark.parametrize("path", sorted(ROOT.glob("schemas/**/*.py")), ids=name_of)
def test_schemas_import_no_shell(path: Path) -> None:
    for imported in imports_of(path):
        package = imported.partition(".")[0]
        assert package in sys.stdlib_module_names or package in SCHEMAS_MAY_IMPORT | {"schemas"}, (
            f"{name_of(path)}: {imported}"
        )


@pytest.mark.parametrize("path", sorted(ROOT.glob("streams/web/**/*.py")), ids=name_of)
def test_the_web_view_knows_nothing_of_how_its_topics_are_written(path: Path) -> None:
    for imported in imports_of(path):
        if within(imported, ("streams",)):
            assert within(imported, WEB_MAY_IMPORT), f"{name_of(path)} imports {imported}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("streams/audit/**/*.py")), ids=name_of)
def test_the_recount_shares_nothing_with_what_it_checks(path: Path) -> None:
    """Of the domain it may use holidays, periods and how the ledger packs events, and nothing that counts, sums or judges."""
    for imported in imports_of(path):
        if within(imported, ("streams.domain",)):
            assert within(imported, RECOUNT_MAY_IMPORT), f"{name_of(path)} imports {imported}"
        assert not within(imported, ("streams.ledger", "streams.totals", "streams.worker"))


def public_types(source: str) -> Iterator[str]:
    """Names of the public classes and type aliases of a module; names in capitals are constants, not aliases."""
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                if name[0].isupper() and not name.isupper():
                    yield name
            case ast.If(body=body):  # aliases for type checking only
                yield from public_types("\n".join(map(ast.unparse, body)))
            case _:
                pass


def test_a_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for name in public_types(path.read_text()):
            homes.setdefault(name, []).append(name_of(path))
    assert len(homes) > 100
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def test_the_check_of_names_sees_classes_and_aliases() -> None:
    source = "class Unit: ...\nRow = tuple[int, str]\nLIMIT = 7\n_Key = str\nif TYPE_CHECKING:\n    Schema = dict[str, int]\n"
    assert list(public_types(source)) == ["Unit", "Row", "Schema"]


def test_the_check_sees_the_modules() -> None:
    assert len(MODULES) > 20
    assert "streams.domain.ledger" in {name_of(path) for path in MODULES}
