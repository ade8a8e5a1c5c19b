"""A real browser for tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from playwright.async_api import Page

# A page that reloads by itself takes some seconds; where the promise is a time, the test says it.
expect.set_options(timeout=1000 * stretched(10))

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Notes what must not happen in a page: a foreign script that runs, or a violation of the content security policy.
WATCH = """
window.hacked = 0;
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
for (const name of ["alert", "confirm", "prompt"]) window[name] = () => { window.hacked = 1; };
"""


def chromium() -> str:
    """The path of Chromium. Without one the test is skipped, or fails on machines that must have it (CI)."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        why = f"no browser: none of {', '.join(_NAMES)} is installed (apt-get install chromium fonts-noto-cjk)"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found


def arguments() -> list[str]:
    """Its arguments: root has no sandbox, and a container little shared memory."""
    return ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


class Heard:
    """What a page writes to its console, apart from responses that were meant to fail."""

    def __init__(self, page: Page) -> None:
        self.faults: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"} and "status of 4" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")


def picture_lines(png: bytes) -> int:
    """The number of distinct pixel lines in a screenshot: an empty one has hardly any."""
    data, at, width, height = b"", 8, 0, 0
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, chunk = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", chunk[:8])
            pixel_bytes = {2: 3, 6: 4}[chunk[9]]
        elif kind == b"IDAT":
            data += chunk
        at += length + 12
    raw = zlib.decompress(data)
    line_bytes = width * pixel_bytes + 1
    return len({raw[row * line_bytes : (row + 1) * line_bytes] for row in range(height)})
