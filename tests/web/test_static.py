"""What the pages load: vendored files are as published, and there is little to load."""

from __future__ import annotations

import gzip
import hashlib
import re

from streams.web.app import FOLDER

STATIC = FOLDER / "static"
VENDOR = STATIC / "vendor"
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
#: Style, scripts, icon and charts of a page; the rest of the 150 kB of a first load is the page itself.
MAX_ASSETS_BYTES = 60_000


def recorded() -> dict[str, str]:
    """File → SHA-256 of the VENDOR file."""
    lines = [line for line in (VENDOR / "VENDOR").read_text().splitlines() if line and not line.startswith("#")]
    return {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}


def test_vendored_files_are_those_recorded() -> None:
    files = [path for path in VENDOR.rglob("*") if path.is_file() and path.name != "VENDOR"]
    found = {path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert found == recorded()


def test_each_vendored_project_has_a_licence_and_an_exact_version() -> None:
    text = (VENDOR / "VENDOR").read_text()
    for project in (path for path in VENDOR.iterdir() if path.is_dir()):
        assert (project / "LICENSE").exists()
        assert re.search(rf"^# {project.name} \d+\.\d+\.\d+, ", text, re.MULTILINE | re.IGNORECASE)


def test_what_a_page_loads_is_small() -> None:
    loaded = [path for path in STATIC.rglob("*") if path.suffix in {".css", ".js", ".svg"}]
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in loaded) < MAX_ASSETS_BYTES


def test_no_page_has_script_or_style_of_its_own() -> None:
    """The pages' policy forbids it, and the browser would drop it silently."""
    for path in TEMPLATES:
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text), path.name
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path.name


def test_nothing_is_loaded_from_elsewhere() -> None:
    ours = [*TEMPLATES, STATIC / "app.css", STATIC / "app.js", STATIC / "charts.js", *VENDOR.rglob("*.css")]
    for path in ours:
        assert not re.search(
            r"(?:src|href|url\(|@import|import\(|fetch\()\s*=?\s*[\"'(`]?(?:https?:)?//", path.read_text()
        ), path
