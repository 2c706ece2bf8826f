"""Pages in a real browser: no errors, zoom, values under the cursor, narrow and wide windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.report.compare import write_comparison
from ptycho_dist.report.source import read_source
from ptycho_dist.report.write import write_report
from tests.support.browser import NEEDS_BROWSER, browser, console_errors
from tests.support.results import hermite_probe, smooth_object, write_product, write_results
from tests.support.runs import simulate_tiny

pytestmark = NEEDS_BROWSER
_HOVER = """
const [panel, y, x] = arguments;
const canvas = report.panels[panel].canvas, box = canvas.getBoundingClientRect();
const [top, left] = report.panels[panel].toScreen(y, x);
const at = { clientY: box.top + top, clientX: box.left + left, bubbles: true, pointerId: 1 };
canvas.dispatchEvent(new PointerEvent('pointermove', at));
return report.panels[panel].readout.textContent;
"""
_WHEEL = """
const canvas = report.panels[0].canvas, box = canvas.getBoundingClientRect();
const at = { clientY: box.top + box.height / 3, clientX: box.left + box.width / 3 };
canvas.dispatchEvent(new WheelEvent('wheel', { ...at, deltaY: -400, bubbles: true, cancelable: true }));
"""
_PICTURE = "return report.panels[arguments[0]].canvas.toDataURL()"


def opened(driver: WebDriver, page: Path) -> WebDriver:
    driver.get(page.as_uri())
    drawn = "return document.documentElement.dataset.state === 'drawn'"
    WebDriverWait(driver, 60).until(lambda found: found.execute_script(drawn))
    frames = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    driver.execute_async_script(frames)
    return driver


def settled(driver: WebDriver, panel: int) -> str:
    frames = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    driver.execute_async_script(frames)
    return str(driver.execute_script(_PICTURE, panel))


def overflow_px(driver: WebDriver) -> int:
    return int(driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of an object of four modes without truth."""
    return write_report(read_source(write_results(tmp_path_factory.mktemp("made"), n_modes=4)))


@pytest.fixture(scope="module")
def with_truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of a refinement of a simulated scan, by its command."""
    from ptycho_dist.cli import main

    folder = tmp_path_factory.mktemp("truth")
    scan = simulate_tiny(folder / "scan.h5")
    command = ["refine", str(scan), "--output_dir", str(folder / "run"), "--iterations", "3", "--devices", "1"]
    assert main([*command, "--accelerator", "cpu", "--quiet"]) == 0
    return folder / "run" / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_page_has_no_errors_at_any_width(made: Path, with_truth: Path, width: int) -> None:
    with browser(width=width) as driver:
        for page in (made, with_truth):
            opened(driver, page)
            assert console_errors(driver) == []
            assert overflow_px(driver) <= 0, "the page is wider than the window"
            pictures = driver.execute_script("return [...document.images].filter(one => !one.naturalWidth).length")
            assert pictures == 0


def test_zoom_changes_all_panels_and_comes_back(made: Path) -> None:
    with browser() as driver:
        opened(driver, made)
        before = [settled(driver, panel) for panel in (0, 1)]
        driver.execute_script(_WHEEL)
        zoomed = [settled(driver, panel) for panel in (0, 1)]
        assert all(one != other for one, other in zip(before, zoomed, strict=True))
        assert driver.execute_script("return report.view.zoom") > 2
        driver.execute_script("document.querySelector('#object button[data-zoom=\"0\"]').click()")
        assert [settled(driver, panel) for panel in (0, 1)] == before


def test_value_under_the_cursor_is_that_of_the_product(made: Path) -> None:
    amplitude = np.abs(read_product(made.parent / "reconstruction.h5").object_)
    with browser() as driver:
        opened(driver, made)
        for zoom in (False, True):
            if zoom:
                driver.execute_script(_WHEEL)
            for row, column in ((40, 50), (45, 33), (33, 45)):
                told = driver.execute_script(_HOVER, 0, row + 0.5, column + 0.5)
                assert float(told) == pytest.approx(float(amplitude[row, column]), rel=6e-4)
        place = driver.execute_script("return document.querySelector('#object output.place').textContent")
        assert "row 33, column 45" in place
        assert "nm" in place


def test_colour_range_and_choice_of_map_change_the_picture(made: Path) -> None:
    with browser() as driver:
        opened(driver, made)
        before = settled(driver, 0)
        script = "const p = report.panels[0]; p.highField.value = 5; p.highField.dispatchEvent(new Event('change'))"
        driver.execute_script(script)
        narrowed = settled(driver, 0)
        assert narrowed != before
        driver.execute_script("return report.panels[0].choose('phase')")
        assert settled(driver, 0) == settled(driver, 1)


def test_patterns_are_chosen_by_a_click_and_by_name(with_truth: Path) -> None:
    with browser() as driver:
        opened(driver, with_truth)
        assert driver.execute_script("return report.pair.patterns[report.pair.place].name") == "best"
        driver.execute_script("document.querySelector('#scan button[data-name=worst]').click()")
        assert driver.execute_script("return report.pair.patterns[report.pair.place].name") == "worst"
        place = driver.execute_script("const p = report.pair.patterns[5]; report.scanPanel.options.onClick(p.y, p.x)")
        assert place is None
        assert driver.execute_script("return report.pair.place") == 5
        assert "pattern" in driver.execute_script("return document.querySelector('#scan output.pattern').textContent")


def test_convergence_is_drawn_against_seconds_too(with_truth: Path) -> None:
    with browser() as driver:
        opened(driver, with_truth)
        xs: list[Any] = []
        for name in ("pass", "seconds"):
            driver.execute_script(f"document.querySelector('button[data-x={name}]').click()")
            xs.append(driver.execute_script("return [...report.convergence.plot.data[0]]"))
        assert xs[0] == [1, 2, 3]
        assert xs[1] == sorted(xs[1]) != xs[0]


def test_a_page_of_a_large_object_and_many_patterns_opens(tmp_path: Path) -> None:
    page = write_report(read_source(write_results(tmp_path / "large", (4096, 4000), count=100_000)))
    with browser() as driver:
        opened(driver, page)
        assert console_errors(driver) == []
        told = driver.execute_script(_HOVER, 0, 2000.5, 1999.5)
    amplitude = np.abs(read_product(page.parent / "reconstruction.h5").object_[1998:2001, 1998:2001]).mean()
    assert float(told.strip("\u2265\u2264 ")) == pytest.approx(float(amplitude), rel=0.02)


def test_a_comparison_opens(tmp_path: Path) -> None:
    first = write_results(tmp_path / "one")
    noisy = smooth_object((96, 128)) + 0.05 * smooth_object((96, 128), 5)
    other = write_product(tmp_path / "two.h5", noisy.astype(np.complex64), hermite_probe(32, 1), 40)
    page = write_comparison([first, other], tmp_path / "comparison.html")
    for width in (1280, 390):
        with browser(width=width) as driver:
            opened(driver, page)
            assert console_errors(driver) == []
            assert overflow_px(driver) <= 0
