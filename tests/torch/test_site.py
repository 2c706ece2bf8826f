"""The built site: readable on a telephone, and a search that finds how-to pages first. Run by ``make docs``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import NEEDS_BROWSER, browser

SITE = Path(__file__).resolve().parents[2] / "docs" / "_build" / "html"
BUILT = pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="NOT RUN: the site is not built (make docs)")
pytestmark = [BUILT, NEEDS_BROWSER, pytest.mark.slow]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of a request."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Address of the site, served from this process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def written_pages() -> list[str]:
    """Pages of the site, of the modules of the API a few: they are all made from one template."""
    pages = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
    modules = [page for page in pages if page.startswith("_api/")]
    return [page for page in pages if not page.startswith(("_api/", "_static/"))] + modules[::20]


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(site: str, width: int) -> None:
    wide = {}
    with browser(width=width) as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["https://*"]})
        for page in written_pages():
            driver.get(f"{site}/{page}")
            found = driver.execute_script("return document.documentElement.scrollWidth")
            if found > width:
                wide[page] = found
    assert wide == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [("refine", "howto/refine"), ("mask pixels", "howto/bad_pixels"), ("mpirun", "howto/mpirun")],
)
def test_search_finds_how_to_pages_before_the_api(site: str, words: str, expected: str) -> None:
    with browser() as driver:
        driver.get(f"{site}/search.html?q={words.replace(' ', '+')}")
        script = "return [...document.querySelectorAll('ul.search li > a')].map(one => one.getAttribute('href'))"
        WebDriverWait(driver, 20).until(lambda one: one.execute_script(f"{script}.length > 5 || null"))
        WebDriverWait(driver, 20).until(
            lambda one: "_api" in " ".join(one.execute_script(script)) or "Search finished" in one.page_source
        )
        found = driver.execute_script(script)
    places = [number for number, link in enumerate(found) if "_api/" in link]
    assert any(expected in link for link in found[:3]), found[:5]
    assert not places or places[0] > max(number for number, link in enumerate(found) if "howto/" in link)


def test_public_names_have_pages_of_their_own(site: str) -> None:
    import ptycho_dist

    assert site
    assert [name for name in ptycho_dist.__all__ if not (SITE / "_api" / f"ptycho_dist.{name}.html").is_file()] == []
