"""The Python interface in one process: results, errors, and a process that stays as it was."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import ptycho_dist as ptd
from ptycho_dist.api.invoke import asked_of, flag_value
from ptycho_dist.commands.error_messages import raise_failure
from ptycho_dist.commands.parsing import parse
from ptycho_dist.commands.registry import commands
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.errors import BundleError, ConfigError, DataFormatError, LaunchError, PtychoDistError
from ptycho_dist.launching.signals import StopRequested
from ptycho_dist.launching.supervisor import LaunchOutcome

SMALL: dict[str, Any] = {"devices": 1, "accelerator": "cpu", "width": 8}
QUICK: dict[str, Any] = {**SMALL, "max_epochs": 1, "iterations": 1}


def process_state() -> dict[str, Any]:
    """Gather what a job must leave as it was."""
    package = logging.getLogger("ptycho_dist")
    numbers = np.random.get_state()  # noqa: NPY002  # the state to compare
    return {
        "environment": dict(os.environ),
        "logging": (list(package.handlers), package.propagate, package.level),
        "signals": [signal.getsignal(number) for number in sorted(signal.Signals)],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": (numbers[0], numbers[1].tolist(), *numbers[2:]),
        "directory": Path.cwd(),
    }


@pytest.fixture(scope="module")
def first(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ptd.Reconstruction]:
    """Reconstruct the tiny scan once."""
    with ptd.open_scan(tiny_path) as scan:
        yield ptd.reconstruct(scan, output_dir=tmp_path_factory.mktemp("first"), **QUICK)


def test_reconstruct_returns_what_the_product_and_the_metrics_hold(first: ptd.Reconstruction) -> None:
    product = read_product(first.path)
    assert first.object_.dtype == np.complex64
    assert first.object_.tobytes() == product.object_.tobytes()
    assert first.probe.shape == (1, 32, 32)
    assert first.positions_px.shape == (25, 2)
    assert np.all(first.positions_px - first.object_origin_px >= 0)
    assert first.pixel_size_m == product.geometry.pixel_size_m
    assert 0 < first.metrics["fourier_error"] < 1
    assert first.metrics["ranks"] == 1
    assert len(first.losses) == 1


def test_figure_is_drawn_without_pyplot(first: ptd.Reconstruction, tmp_path: Path) -> None:
    figure = first.figure()
    figure.savefig(tmp_path / "figure.png")
    assert plt.get_fignums() == []
    titles = {axes.get_title() for band in figure.subfigs for axes in band.axes}
    assert {"truth, phase", "reconstruction, phase", "Fourier ring correlation"} <= titles


def test_result_shows_itself_in_a_notebook(first: ptd.Reconstruction) -> None:
    page = first._repr_html_()
    assert "data:image/png;base64," in page
    assert re.search(rf"<td [^>]*>fourier_error</td><td [^>]*>{first.metrics['fourier_error']:.4g}</td>", page)
    assert "<Reconstruction" in repr(first)
    assert "&lt;Reconstruction" in page


def test_calls_leave_the_process_as_it_was(tiny_path: Path, tmp_path: Path) -> None:
    before = process_state()
    training = ptd.train(tiny_path, output_dir=tmp_path / "training", **SMALL, max_epochs=1)
    with pytest.raises(ConfigError, match=r"train_rows"):
        ptd.train(tiny_path, output_dir=tmp_path / "wrong", train_rows=(0, 2), **SMALL)
    again = ptd.train(tiny_path, output_dir=tmp_path / "again", **SMALL, max_epochs=1)
    assert process_state() == before
    assert again.losses == training.losses


def test_train_infer_and_refine_follow_each_other(tiny_path: Path, tmp_path: Path) -> None:
    training = ptd.train(tiny_path, output_dir=tmp_path, **SMALL, max_epochs=2)
    assert len(training.losses) == 2
    assert training.settings["model"]["width"] == 8
    network = ptd.infer(tiny_path, output_dir=tmp_path / "network", model_path=training, devices=1, accelerator="cpu")
    assert network.maps["coverage"].shape == network.object_.shape
    refined = ptd.refine_object(
        tiny_path, output_dir=tmp_path / "refined", start=network, iterations=2, devices=1, accelerator="cpu"
    )
    assert refined.metrics["fourier_error"] < network.metrics["fourier_error"]


def test_call_works_in_another_thread(tiny_path: Path, tmp_path: Path) -> None:
    found: list[ptd.Training] = []
    work = threading.Thread(
        target=lambda: found.append(ptd.train(tiny_path, output_dir=tmp_path, **SMALL, max_epochs=1))
    )
    work.start()
    work.join()
    assert len(found[0].losses) == 1


def test_progress_tells_the_epochs_only_on_request(
    tiny_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ptd.train(tiny_path, output_dir=tmp_path / "quiet", **SMALL, max_epochs=1)
    quiet = capfd.readouterr()
    assert (quiet.out, quiet.err) == ("", "")
    ptd.train(tiny_path, output_dir=tmp_path / "told", progress=True, **SMALL, max_epochs=1)
    told = capfd.readouterr()
    assert told.out == ""
    assert "epoch 1 of 1, loss" in " ".join(told.err.split())


def test_simulated_scan_is_open_and_readable(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scan = ptd.simulate_scan(tmp_path / "scan.h5", n_patterns=16, N=32, photons=1e5, devices=1)
    assert isinstance(scan, ptd.Scan)
    assert capfd.readouterr().out == ""
    assert (len(scan), scan.header.N) == (16, 32)
    assert "16 patterns of 32 x 32" in repr(scan)
    everything = scan.counts()
    assert everything.shape == (16, 32, 32)
    assert scan.counts(3).tobytes() == everything[3].tobytes()
    assert scan.counts(slice(2, 8, 3)).tobytes() == everything[2:8:3].tobytes()
    assert scan.counts([5, -1]).tobytes() == everything[[5, -1]].tobytes()
    with pytest.raises(IndexError):
        scan.counts(16)
    scan.close()


def test_options_of_an_open_scan_hold_for_its_reconstruction(tmp_path: Path) -> None:
    from tests.support.scans import make_scan, write_tike

    path = write_tike(tmp_path / "scan.npz", make_scan())
    with ptd.open_scan(path, ptd.ScanOptions(pixel_size_m=2e-8)) as scan:
        training = ptd.train(scan, output_dir=tmp_path / "opened", **SMALL, max_epochs=1)
        other = ptd.train(scan, output_dir=tmp_path / "given", pixel_size_m=3e-8, **SMALL, max_epochs=1)
    assert training.settings["data"]["pixel_size_m"] == 2e-8
    assert other.settings["data"]["pixel_size_m"] == 3e-8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epoch": 3}, r"reconstruct\(\) got an unknown keyword 'max_epoch'; .* Did you mean 'max_epochs'\?"),
        ({"refrence": "t.npz"}, r"unknown keyword 'refrence'; .* Did you mean 'reference'\?"),
        ({"max_epochs": "many"}, r"training\.max_epochs = 'many' \(str\); expected int"),
        ({"quiet": True}, r"unknown keyword 'quiet'"),
        ({"reference": 3}, r"reference = 3 \(int\); expected a path"),
        ({"train_data_file": "other.h5"}, r"name one file but differ"),
        ({"epochs": 2, "max_epochs": 3}, r"name one setting \(training\.max_epochs\) but differ"),
        ({"n_images": 4, "n_groups": 5}, r"name one setting \(training\.n_groups\) but differ"),
        ({"fine_tune_gamma": 0.5}, r"is a name of PtychoPINN without a counterpart here"),
    ],
)
def test_wrong_settings_are_told_by_their_keywords(
    tiny_path: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ptd.reconstruct(tiny_path, output_dir=tmp_path, **settings)


def test_reconstruct_refuses_to_refine_a_region(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"inference\.region = \(0, 0, 9, 9\) .* Set refine\.iterations = 0"):
        ptd.reconstruct(tiny_path, output_dir=tmp_path, region=(0, 0, 9, 9), **QUICK)
    part = ptd.reconstruct(tiny_path, output_dir=tmp_path, region=(0, 0, 9, 9), **{**QUICK, "iterations": 0})
    assert part.object_.shape == part.maps["disagreement"].shape == (9, 9)
    assert part.metrics["fourier_error"] is None
    assert "fourier_error" not in repr(part)


def test_missing_files_are_told(tmp_path: Path, tiny_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"nosuch\.h5 is not a file"):
        ptd.reconstruct(tmp_path / "nosuch.h5", output_dir=tmp_path, **SMALL)
    with pytest.raises(BundleError):
        ptd.infer(tiny_path, output_dir=tmp_path, model_path=tmp_path, devices=1, accelerator="cpu")


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (True, "true"),
        (None, "null"),
        ("poisson", "poisson"),
        (Path("a b/c.h5"), "a b/c.h5"),
        (1e-3, "0.001"),
        ((0, 0.5), "[0, 0.5]"),
    ],
)
def test_flag_value_writes_a_value_as_the_command_line_takes_it(value: Any, flag: str) -> None:
    assert flag_value(value) == flag


def test_keywords_become_what_a_command_is_asked_for() -> None:
    settings = {"scan": Path("s.h5"), "epochs": np.int64(3), "train_rows": np.array([0.0, 0.5]), "lr": np.float64(1e-3),
                "disable_mlflow": True, "label_file": None, "config": "run.yaml", "model.width": 8}  # fmt: skip
    asked = asked_of(commands()["train"], settings, progress=False)
    values = {
        "training.max_epochs": 3,
        "training.train_rows": (0.0, 0.5),
        "execution.learning_rate": 1e-3,
        "model.width": 8,
    }
    assert (asked.paths, asked.overrides, asked.config_file) == ({"scan": Path("s.h5")}, values, Path("run.yaml"))
    again = parse(commands()["train"], asked.argv[1:])
    assert (again.paths, again.overrides, again.quiet) == (asked.paths, asked.overrides, True)


def test_keyword_of_another_command_is_refused_with_the_commands_that_use_it() -> None:
    with pytest.raises(ConfigError, match="checkpoint_interval_s is a setting of train, reconstruct, refine"):
        asked_of(commands()["infer"], {"checkpoint_interval_s": 3}, progress=False)


@pytest.mark.parametrize("scan", [None, np.ones((2, 4, 4))])
def test_what_is_no_scan_is_refused(scan: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a path or an open scan"):
        ptd.train(scan, output_dir=tmp_path)


def test_write_scan_writes_what_open_scan_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    patterns, positions = rng.poisson(9.0, (300, 16, 16)), rng.uniform(0, 40, (300, 2))
    probe, mask = np.ones((16, 16), complex), np.ones((16, 16), bool)
    mask[3, 4] = False
    with ptd.write_scan(tmp_path / "scan.h5", patterns, positions, probe, mask=mask, pixel_size_m=1e-8) as scan:
        assert (len(scan), scan.header.N, scan.header.n_modes, scan.header.pixel_size_m) == (300, 16, 1, 1e-8)
        assert scan.positions_px.tobytes() == positions.tobytes()
        assert (scan.counts()[:, mask] == patterns[:, mask]).all()
        assert (scan.mask == mask).all()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"mask": np.ones((8, 8), bool)}, DataFormatError, r"mask for .* has shape \(8, 8\); expected 16 by 16"),
        ({"mask": np.zeros((16, 16))}, DataFormatError, r"mask for .* is 0 everywhere"),
        ({"mask": np.full((16, 16), 0.5)}, DataFormatError, r"mask for .* holds 0\.5"),
        ({"patterns": np.zeros((4, 16, 16))}, DataFormatError, r"hold no counts"),
        ({"patterns": np.ones((4, 16, 16), complex)}, DataFormatError, r"complex128; expected real counts"),
        ({"probe": np.ones((8, 8), complex)}, DataFormatError, r"probe for .* has shape \(1, 8, 8\)"),
        ({"positions_px": np.zeros((3, 2))}, DataFormatError, r"holds 3 positions for 4 patterns"),
        ({"patterns": np.ones((4, 16, 8))}, DataFormatError, r"expected square patterns"),
        ({"patterns": -np.ones((4, 16, 16))}, DataFormatError, r"expected counts from 0"),
        ({"pixel_size": 1e-8}, ConfigError, r"unknown keyword 'pixel_size'; .* Did you mean 'pixel_size_m'\?"),
        ({"output_file": "scan.npz"}, ConfigError, r"ends in \.h5"),
    ],
)
def test_write_scan_refuses_what_is_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    positions = np.arange(8.0).reshape(4, 2)
    with pytest.raises(error, match=message):
        ptd.write_scan(
            **({"output_file": "scan.h5", "patterns": np.ones((4, 16, 16)), "positions_px": positions} | more)
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ending", "error", "message"),
    [
        (LaunchOutcome(2, (), "log\nptycho-dist: BundleError: no bundle here\n"), BundleError, r"^no bundle here$"),
        (
            LaunchOutcome(137, ("rank 1 (pid 7) was killed by SIGKILL",), ""),
            LaunchError,
            r"rank 1 .* was killed by SIGKILL",
        ),
        (
            LaunchOutcome(1, (), "Traceback\nKeyError: 3\n"),
            LaunchError,
            r"exit code 1 and said:\nTraceback\nKeyError: 3",
        ),
        (LaunchOutcome(2, (), "ptycho-dist: storage error at x: No space\n"), PtychoDistError, r"storage error at x"),
        (LaunchOutcome(2, (), "ptycho-dist: annotations: not an error\n"), LaunchError, r"exit code 2"),
    ],
)
def test_raise_failure_raises_what_the_rank_told(ending: LaunchOutcome, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        raise_failure(ending)


def test_raise_failure_tells_an_interrupt_and_a_stop_apart() -> None:
    raise_failure(LaunchOutcome(0))
    with pytest.raises(KeyboardInterrupt):
        raise_failure(LaunchOutcome(130))
    with pytest.raises(StopRequested):
        raise_failure(LaunchOutcome(75))


def test_names_of_calls_are_none_of_a_subpackage() -> None:
    folders = {path.name for path in Path(str(ptd.__file__)).parent.iterdir() if path.is_dir()}
    assert not folders & set(ptd.__all__)
