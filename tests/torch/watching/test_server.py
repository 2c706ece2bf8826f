"""The page is for whoever knows the token, and gives nothing but the job."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from ptycho_dist.errors import LaunchError
from ptycho_dist.watching.server import WatchServer
from tests.torch.watching.conftest import Ranks


@pytest.fixture
def server(tmp_path: Path, ranks: Ranks) -> Iterator[WatchServer]:
    """Serve a job of one rank, with a picture and a secret beside it."""
    ranks(1)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "preview.png")
    (tmp_path / "secret.txt").write_text("a secret")
    (tmp_path.parent / "overview.png").write_text("a secret")
    with WatchServer(tmp_path, "127.0.0.1", 0, 0.5) as made:
        serving = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        yield made
        made.shutdown()
        serving.join()


def ask(server: WatchServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)  # type: ignore[arg-type]
    connection.putrequest(method, path, skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def test_page_state_and_picture_are_there_for_the_token(server: WatchServer, tmp_path: Path) -> None:
    base = urlsplit(server.address).path
    status, headers, page = ask(server, base)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert str(tmp_path) in page.decode()
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "http://" not in page.decode().replace("http://www.w3.org/2000/svg", "")
    status, _, state = ask(server, f"{base}state.json")
    assert (status, json.loads(state)["status"]) == (200, "running")
    status, headers, picture = ask(server, f"{base}picture/preview.png?v=3")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert picture == (tmp_path / "preview.png").read_bytes()


@pytest.mark.parametrize("path", ["/", "/state.json", "/x/", "/{short}/", "/{token}x/state.json", "/%ff/"])
def test_without_the_token_nothing_is_told(server: WatchServer, path: str) -> None:
    asked = path.format(token=server.token, short=server.token[:-1])
    status, _, content = ask(server, asked)
    assert (status, content) == (403, b"")


@pytest.mark.parametrize(
    "path",
    [
        "", "secret.txt", "picture/secret.txt", "picture/../secret.txt", "picture/%2e%2e/overview.png",
        "picture//etc/passwd", "picture/", "logs/progress-rank-00000.json", "state.json/x",
    ],
)  # fmt: skip
def test_nothing_else_of_the_folder_is_served(server: WatchServer, path: str) -> None:
    base = f"/{server.token}/{path}" if path else f"/{server.token}"
    status, _, content = ask(server, base)
    assert (status, content) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_only_get_is_answered(server: WatchServer, method: str) -> None:
    assert ask(server, f"/{server.token}/", method)[0] == 405


def test_tokens_differ_and_are_long(tmp_path: Path) -> None:
    tokens = set()
    for _ in range(3):
        with WatchServer(tmp_path, "127.0.0.1", 0, 1.0) as made:
            tokens.add(made.token)
    assert len(tokens) == 3
    assert all(len(one) >= 32 for one in tokens)


def test_address_that_is_taken_is_refused_in_words(server: WatchServer, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"cannot be served at 127.0.0.1:\d+ .*--port 0"):
        WatchServer(tmp_path, "127.0.0.1", int(server.server_address[1]), 1.0)
