"""Real jobs are watched, in a terminal and in a real browser, while they run and after they have ended."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import NEEDS_BROWSER, browser, console_errors
from tests.support.kill import wait_until
from tests.support.launch import calm_environment, finish, run, start
from tests.support.live_writers import running
from tests.support.runs import simulate_tiny

TINY = ["--width", 8, "--depth", 1, "--accelerator", "cpu"]
LONG = ["--max_epochs", 100000, "--min_gain", 0, *TINY]
WIDTHS = ((1280, 900), (390, 844))


@contextmanager
def job(arguments: list[object]) -> Iterator[subprocess.Popen[str]]:
    """Run a job until the end of the block."""
    process = start(["-m", "ptycho_dist", *arguments])
    try:
        yield process
    finally:
        process.terminate()
        finish(process, 60.0)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a job's page until Ctrl-C, which must end it without a word; gives its address."""
    process = start(["-m", "ptycho_dist", "watch", folder, "--serve", "--interval_s", 0.3])
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        done = finish(process, 30.0)
    assert (done.returncode, done.stderr) == (0, "")


def text_of(driver: webdriver.Chrome, name: str) -> str:
    return driver.find_element(By.ID, name).text


def test_training_on_two_ranks_is_watched_from_before_its_begin_to_its_end(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert "the folder is not there yet" in run(["watch", folder]).stdout
    with job(["train", scan, "--output_dir", folder, "--devices", 2, *LONG]) as training:
        wait_until(lambda: (folder / "logs" / "progress-rank-00001.json").exists(), "a state", training)
        wait_until(lambda: "steps" in (folder / "logs" / "progress-rank-00000.json").read_text(), "a step", training)
        wait_until(lambda: "loss" in (shown := run(["watch", folder]).stdout) and " of " in shown, "a loss", training)
        during = run(["watch", folder, "--once"])
    assert (during.returncode, during.stderr) == (0, "")
    assert re.search(r"train, begun \S+: running", during.stdout)
    assert re.search(r"\d+ of [\d,]+ steps", during.stdout)
    assert re.search(r"about \S+ left", during.stdout)
    assert re.search(r"loss [\u2581-\u2588]+ ", during.stdout)
    assert re.search(r"2 of 2 ranks seen, 2 running, [\d,]+ patterns/s together", during.stdout)
    after = run(["watch", folder]).stdout
    assert "stopped (SIGTERM); the same command resumes it" in after


def test_terminal_shows_the_end_and_leaves(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(["train", scan, "--output_dir", folder, "--max_steps", 4, *TINY]).returncode == 0
    main, other = pty.openpty()
    env = calm_environment({"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "100", "LINES": "40"})
    command = [sys.executable, "-m", "ptycho_dist", "watch", str(folder)]
    with subprocess.Popen(command, env=env, stdin=other, stdout=other, stderr=other) as process:
        os.close(other)
        written = b""
        try:
            while more := os.read(main, 65536):
                written += more
        except OSError:  # the terminal has no other end any more
            pass
        assert process.wait(30) == 0
    os.close(main)
    text = written.decode()
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1
    assert "finished, in 0:" in text[text.index("\x1b[?1049l") :]


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    main, other = pty.openpty()
    command = [sys.executable, "-m", "ptycho_dist", "watch", str(tmp_path)]
    env = calm_environment({"TERM": "xterm-256color"})
    with subprocess.Popen(command, env=env, stdin=other, stdout=other, stderr=subprocess.PIPE) as process:
        os.close(other)
        assert os.read(main, 1)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
    os.close(main)


def test_file_is_no_folder_of_a_job(scan: Path) -> None:
    done = run(["watch", scan])
    assert done.returncode == 2
    assert "expected the folder of a job's results" in done.stderr


@NEEDS_BROWSER
def test_page_follows_a_training_to_its_end(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with served(folder) as address, browser(width=390, height=844) as driver:
        driver.get(address)
        WebDriverWait(driver, 30).until(lambda it: text_of(it, "verdict") == "the folder is not there yet")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.replace(address.split("/")[3], "guessed"))
        previews = ["--recon_log_every_n_epochs", 1, "--recon_log_stitch"]
        with job(["train", scan, "--output_dir", folder, "--devices", 2, *previews, *LONG]):
            wait = WebDriverWait(driver, 60)
            wait.until(lambda it: text_of(it, "verdict") == "running")
            wait.until(lambda it: re.fullmatch(r"[\d,]+ of [\d,]+ steps", text_of(it, "amount")))
            wait.until(lambda it: it.find_elements(By.CSS_SELECTOR, "#curves polyline"))
            wait.until(lambda it: "previews/epoch-" in text_of(it, "name"))
            first = text_of(driver, "name")
            wait.until(lambda it: text_of(it, "name") != first)
            wait.until(lambda it: it.execute_script("return document.getElementById('image').naturalWidth") > 100)
            assert len(driver.find_elements(By.CSS_SELECTOR, "#rows tr")) == 2
            assert "about" in text_of(driver, "words")
            require_fits(driver)
        wait.until(lambda it: text_of(it, "verdict").startswith("stopped (SIGTERM)"))
        assert not driver.find_element(By.ID, "bar").is_displayed()
        assert console_errors(driver) == []


@NEEDS_BROWSER
def test_page_shows_the_object_as_it_grows(tmp_path: Path) -> None:
    whole = simulate_tiny(tmp_path / "whole.h5", n_patterns=240)
    target, folder = tmp_path / "running.h5", tmp_path / "run"
    following = ["infer", "--follow", target, "--output_dir", folder, "--accelerator", "cpu"]
    with served(folder) as address, browser() as driver, job(following) as process:
        driver.get(address)
        wait = WebDriverWait(driver, 60)
        wait.until(lambda it: text_of(it, "name") == "preview.png")
        versions = {version_of(driver)}
        with running("swmr", whole, target, "--per_s", 40):
            for _ in range(2):
                wait.until(lambda it: version_of(it) not in versions)
                versions.add(version_of(driver))
            wait.until(lambda it: re.fullmatch(r"\d+ patterns", text_of(it, "amount")))
            assert "following" in text_of(driver, "stages")
            wait.until(lambda it: text_of(it, "verdict").startswith("finished, in"))
        assert process.wait(30) == 0
        wait.until(lambda it: text_of(it, "name") == "overview.png")
        for width, height in WIDTHS:
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            require_fits(driver)
        assert console_errors(driver) == []


def version_of(driver: webdriver.Chrome) -> str | None:
    return driver.find_element(By.ID, "image").get_attribute("data-version")


def require_fits(driver: webdriver.Chrome) -> None:
    """Require that the page is no wider than its window."""
    wide, window = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window
