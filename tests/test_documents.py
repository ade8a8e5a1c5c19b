"""Documents name existing files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_NAMED = re.compile(r"`((?:\.\./)?[\w./-]+(?:\.py|\.md|\.toml|/))`")
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


def test_the_readme_is_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
