"""Shows a job as a small page; read only, for whoever knows the token in its address."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from ptycho_dist.errors import LaunchError
from ptycho_dist.watching.job import look
from ptycho_dist.watching.pictures import pictures_of
from ptycho_dist.watching.plain import plain

_TOKEN_BYTES = 24
_STATE, _PICTURE = "state.json", "picture/"
_HTML, _JSON, _PNG = "text/html; charset=utf-8", "application/json", "image/png"


class WatchServer(ThreadingHTTPServer):
    """Serves the page, the state and the pictures of one job.

    Parameters
    ----------
    folder
        Of the job's results.
    host, port
        Where to listen; port 0 takes a free one.
    interval_s
        Seconds between two looks of the page.

    Raises
    ------
    LaunchError
        If the address cannot be had.
    """

    daemon_threads = True

    def __init__(self, folder: Path, host: str, port: int, interval_s: float) -> None:
        self.folder, self.interval_s = folder, interval_s
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.template = Environment(
            loader=PackageLoader("ptycho_dist.watching"), autoescape=True, undefined=StrictUndefined
        ).get_template("watch.html")
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            msg = (
                f"the page cannot be served at {host}:{port} ({error.strerror or error}); expected an address of this "
                "host and a free port. Give --port 0 for any free one."
            )
            raise LaunchError(msg) from error

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}/{self.token}/"

    def answer(self, path: str, nonce: str) -> tuple[str, bytes] | None:
        """Give type and content of what lies at a path below the token; None where nothing does."""
        if not path:
            page = self.template.render(folder=str(self.folder), interval_ms=round(1e3 * self.interval_s), nonce=nonce)
            return _HTML, page.encode()
        if path == _STATE:
            return _JSON, json.dumps(plain(look(self.folder, datetime.now(UTC)))).encode()
        if path.startswith(_PICTURE):
            named = [one for one in pictures_of(self.folder) if one.name == path.removeprefix(_PICTURE)]
            return (_PNG, named[0].path.read_bytes()) if named else None
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers GET below the token; everything else is refused."""

    server: WatchServer
    server_version, sys_version = "ptycho-dist", ""

    def do_GET(self) -> None:
        """Answer a request."""
        path = unquote(urlsplit(self.path).path).removeprefix("/")
        token, has_more, rest = path.partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        nonce = secrets.token_urlsafe(_TOKEN_BYTES)
        try:
            found = self.server.answer(rest, nonce) if has_more else None
        except OSError:  # a picture that was replaced in this moment
            found = None
        if found is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        kind, content = found
        self._begin(HTTPStatus.OK, kind, len(content), nonce)
        self.wfile.write(content)

    def _only_get(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _only_get  # names of http.server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests: their paths hold the token."""

    def _refuse(self, status: HTTPStatus) -> None:
        self._begin(status, "text/plain", 0, "")

    def _begin(self, status: HTTPStatus, kind: str, length: int, nonce: str) -> None:
        self.send_response(status)
        policy = f"default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src 'nonce-{nonce}'; "
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"{policy}style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        self.end_headers()


def serve(folder: Path, address: tuple[str, int], interval_s: float, tell: Callable[[str], None]) -> None:
    """Serve a job until Ctrl-C.

    Parameters
    ----------
    folder
        Of its results.
    address
        Host and port.
    interval_s
        Seconds between two looks of the page.
    tell
        Takes the address to open.

    Raises
    ------
    LaunchError
        If the address cannot be had.
    """
    with WatchServer(folder, *address, interval_s) as server:
        tell(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
