"""Names the version of the tree that a recorded result belongs to."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[2]
#: What a recorded result depends on; the files of recorded results themselves do not count.
_TREE = ("streams", "schemas", "tests", ":!tests/**/results.json")


def version_of_the_tree() -> str:
    """The commit, with a plus if the tree differs from it, and the interpreter."""
    commit = _git("rev-parse", "--short", "HEAD") or "no commit"
    changed = "+" if _git("status", "--porcelain", "--", *_TREE) else ""
    return f"{commit}{changed}, Python {platform.python_version()}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
