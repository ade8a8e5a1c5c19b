"""Documents name existing files, and the maps of packages all of their modules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_NAMED = re.compile(r"`((?:\.\./)?[\w./-]+(?:\.py|\.md|\.toml|/))`")
#: Packages with a map of their modules.
MAPPED = ("audit", "domain", "kafka", "ledger", "lookup", "operations", "totals", "web")
_LINKED = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def named_by(document: Path) -> list[str]:
    """Files and folders that a document names in code or links to."""
    text = document.read_text()
    return sorted({*_NAMED.findall(text), *_LINKED.findall(text)})


@pytest.mark.parametrize(
    "document",
    [
        "streams/ARCHITECTURE.md",
        "README.md",
        "deploy/README.zh.md",
        "deploy/OPERATIONS.md",
        "tests/README.md",
        ".github/CONTRIBUTING.md",
    ],
)
def test_what_a_document_names_is_there(document: str) -> None:
    path = ROOT / document
    names = named_by(path)
    assert len(names) > 2
    missing = [name for name in names if not ((path.parent / name).exists() or (ROOT / name).exists())]
    assert [name for name in missing if name != "milestones.toml"] == []  # written by users


@pytest.mark.parametrize("folder", ["schemas", *(f"streams/{name}" for name in MAPPED)])
def test_the_map_of_a_package_names_all_of_its_modules(folder: str) -> None:
    """The docstring of each larger package says where to look for what."""
    text = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or ""
    named = re.findall(r"(?<![\w/])\w+\.py\b", text.partition("\n## ")[0])
    there = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    assert sorted(named) == sorted(there)


def test_the_readme_is_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
