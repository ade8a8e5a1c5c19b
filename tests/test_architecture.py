"""Who may import whom: imports point one way, and what travels or decides stays free of Kafka."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("schemas/**/*.py"), *ROOT.glob("streams/**/*.py")])

#: Layers from the top; a module may import from its own layer and from those below.
LAYERS = ["cli", "app", "worker", "state", "kafka", "settings", "domain", "schemas"]
LAYER_OF = {
    "streams.cli": "cli",
    "streams.__main__": "cli",
    "streams.web": "app",
    "streams.app": "app",
    "streams.operations": "app",
    "streams.demo": "app",
    "streams.worker": "worker",
    "streams.ledger": "state",
    "streams.totals": "state",
    "streams.audit": "state",
    "streams.kafka": "kafka",
    "streams.settings": "settings",
    "streams.domain": "domain",
    "schemas": "schemas",
}

#: Packages that may be imported only where they belong; everything else of the standard library is free.
ONLY_IN = {
    "faust": (
        "streams.app",
        "streams.worker",
        "streams.kafka.transport",
        "streams.ledger.partition",
        "streams.totals.window_tables",
        "streams.totals.side_topics",
    ),
    "orjson": ("schemas",),
    "msgspec": ("schemas", "streams.ledger.changelog", "streams.ledger.vocabulary", "streams.domain"),
    "numpy": ("schemas",),
    "babel": ("streams.web",),
    "fastapi": ("streams.web",),
    "jinja2": ("streams.web",),
    "starlette": ("streams.web",),
    "uvicorn": ("streams.web",),
}
#: The web view reads output topics only: it knows neither how they are written nor the sources and how they are counted
#: again. Of what is below it, these are what it may use.
WEB_MAY_IMPORT = (
    "streams.web",
    "streams.kafka.admin",
    "streams.domain.calendar",
    "streams.domain.daytypes",
    "streams.domain.zone",
    "streams.errors",
    "streams.headline",
    "streams.holidays",
    "streams.kafka.clients",
    "streams.settings",
)
SCHEMAS_MAY_IMPORT = {"pydantic", "pydantic_core", "msgspec", "orjson", "numpy", "typing_extensions", "annotated_types"}


def name_of(path: Path) -> str:
    """Dotted module name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Everything a module imports, wherever in it, except for type checking only."""
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


def layer_of(module: str) -> int | None:
    """Index of the module's layer; `None` for helpers that are in no layer."""
    best = max(
        (prefix for prefix in LAYER_OF if module == prefix or module.startswith(f"{prefix}.")), key=len, default=None
    )
    return LAYERS.index(LAYER_OF[best]) if best else None


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module is one of the packages or inside one."""
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = layer_of(name_of(path))
    for imported in imports_of(path):
        other = layer_of(imported)
        if own is not None and other is not None:
            assert own <= other, f"{name_of(path)} ({LAYERS[own]}) imports {imported} ({LAYERS[other]})"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    module = name_of(path)
    for imported in imports_of(path):
        package = imported.partition(".")[0]
        if package in ONLY_IN:
            assert within(module, ONLY_IN[package]), f"{module} imports {imported}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("streams/domain/**/*.py")), ids=name_of)
def test_the_domain_imports_the_standard_library_and_schemas_only(path: Path) -> None:
    for imported in imports_of(path):
        package = imported.partition(".")[0]
        allowed = package in sys.stdlib_module_names or package == "schemas" or within(imported, ("streams.domain",))
        assert allowed, f"{name_of(path)} imports {imported}"
        assert package not in {"asyncio", "socket", "threading", "subprocess"}, f"{name_of(path)} imports {imported}"
        assert imported not in {"time.time", "datetime.now"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("streams/web/**/*.py")), ids=name_of)
def test_the_web_view_knows_nothing_of_how_its_topics_are_written(path: Path) -> None:
    for imported in imports_of(path):
        if within(imported, ("streams",)):
            assert within(imported, WEB_MAY_IMPORT), f"{name_of(path)} imports {imported}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("schemas/**/*.py")), ids=name_of)
def test_schemas_import_no_shell(path: Path) -> None:
    for imported in imports_of(path):
        package = imported.partition(".")[0]
        assert package in sys.stdlib_module_names or package in SCHEMAS_MAY_IMPORT | {"schemas"}, (
            f"{name_of(path)}: {imported}"
        )


@pytest.mark.parametrize("path", sorted(ROOT.glob("streams/audit/**/*.py")), ids=name_of)
def test_the_recount_shares_nothing_with_what_it_checks(path: Path) -> None:
    """Of the domain it knows which dates a holiday has, and nothing that counts, sums or judges."""
    for imported in imports_of(path):
        if within(imported, ("streams.domain",)):
            assert within(imported, ("streams.domain.calendar",)), f"{name_of(path)} imports {imported}"
        assert not within(imported, ("streams.ledger", "streams.totals", "streams.worker"))


def test_the_check_sees_the_modules() -> None:
    assert len(MODULES) > 20
    assert "streams.domain.ledger" in {name_of(path) for path in MODULES}
