"""Static files from memory: compressed once, cached forever under the hash of their content."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_CHECKED: Final = "no-cache"
#: File types that compression does not make smaller.
_PACKED: Final = frozenset((".png", ".jpg", ".woff2", ".ico", ".webp"))
#: Content types that must not depend on the machine's configuration.
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class _Asset:
    body: bytes
    packed: bytes | None
    media_type: str
    version: str


class Assets:
    """All files under a folder.

    Args:
        folder: The folder.
        fresh: Whether to reread the files on each request, for development.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self._folder = folder
        self._fresh = fresh
        self._assets = self._load()

    def url(self, name: str) -> str:
        """The address of a file, with the version of its content.

        Raises:
            KeyError: There is no such file.
        """
        if self._fresh:
            self._assets = self._load()
        return f"/static/{name}?v={self._assets[name].version}"

    def respond(self, name: str, request: Request) -> Response:
        """The file; if the address lacks the version of its content, the browser revalidates it each time."""
        asset = self._assets.get(name)
        if asset is None:
            return PlainTextResponse("there is no such file\n", 404)
        etag = f'"{asset.version}"'
        headers = {
            "cache-control": _IMMUTABLE if request.query_params.get("v") == asset.version else _CHECKED,
            "etag": etag,
            "vary": "accept-encoding",
        }
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = asset.body
        if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            body = asset.packed
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers, media_type=asset.media_type)

    def _load(self) -> dict[str, _Asset]:
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): _asset(path) for path in files}


def _asset(path: Path) -> _Asset:
    body = path.read_bytes()
    packed = None if path.suffix in _PACKED else gzip.compress(body, 9, mtime=0)
    if packed is not None and len(packed) >= len(body):
        packed = None
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _Asset(body, packed, media_type, hashlib.sha256(body).hexdigest()[:12])
