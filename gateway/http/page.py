"""The page: a handful of files, read once, served from memory under a policy that lets nothing else in."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_PACKAGE = Path(__file__).parent.parent
WEB_ROOT = _PACKAGE / "_web" if (_PACKAGE / "_web").is_dir() else _PACKAGE.parent / "web"
"""In an installed package the files lie beside the code, in a checkout in `web/`."""

# Nothing inline and nothing from elsewhere: captions can't become script whatever the model says. Media comes over WebRTC.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".js": "text/javascript", ".ts": "text/plain", ".svg": "image/svg+xml", ".css": "text/css", ".html": "text/html"}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    type: str
    etag: str


class Page:
    """`/` and the files beside it."""

    def __init__(self, root: Path = WEB_ROOT) -> None:
        self._files = {path.name: _read(path) for path in sorted(root.iterdir()) if path.is_file()} if root.is_dir() else {}
        for name, stand_in in (("", "index.html"), ("favicon.ico", "icon.svg")):
            if stand_in in self._files:
                self._files.setdefault(name, self._files[stand_in])

    def routes(self) -> list[web.RouteDef]:
        """For `add_routes`. A file's name has a dot: without, this route would answer for `/whip`."""
        return [web.get("/", self.serve), web.get(r"/{file:[\w-]+(?:\.[\w-]+)+}", self.serve)]

    async def serve(self, request: web.Request) -> web.Response:
        """One file, or 304 if the browser has it."""
        file = self._files.get(request.match_info.get("file", ""))
        if file is None:
            raise web.HTTPNotFound
        headers = {
            "ETag": file.etag,
            "Cache-Control": "no-cache",  # ask each time: a page and a gateway of different versions would not understand
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Referrer-Policy": "no-referrer",
            "Permissions-Policy": "microphone=(self), camera=()",
        }
        if request.headers.get("If-None-Match") == file.etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, headers=headers | {"Content-Type": file.type})


def _read(path: Path) -> _File:
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return _File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:24]}"')
