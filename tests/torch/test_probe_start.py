"""A scan without a probe is no end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.pipeline import run_infer, run_refine
from ptycho_dist.probe_start import with_start_probe
from tests.support.runs import simulate_tiny

SETTINGS = {"refine.iterations": 12, "refine.start_from": "ones", "execution.accelerator": "cpu"}


def settings(**data: Any) -> Any:
    return DataConfig(N=32, **data), PyTorchExecutionConfig(accelerator="cpu", cpu_loops="compiled"), single_rank()


@pytest.fixture(scope="module")
def with_probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_tiny(tmp_path_factory.mktemp("probe") / "with.h5")


@pytest.fixture(scope="module")
def bare(with_probe: Path) -> Path:
    """Copy a scan, but for its probe."""
    with open_scan(with_probe) as scan:
        header = scan.header
        content = ScanContent(
            patterns=[scan.counts()],
            positions_px=scan.positions_px,
            pixel_size_m=header.pixel_size_m,
            energy_eV=header.energy_eV,
            detector_distance_m=header.detector_distance_m,
        )
        return write_scan_h5(with_probe.parent / "bare.h5", content)


def fourier_error(folder: Path) -> float:
    return float(json.loads((folder / "metrics.json").read_text())["fourier_error"])


def test_without_a_probe_the_refinement_comes_as_far_as_with_it(with_probe: Path, bare: Path, tmp_path: Path) -> None:
    for name, scan in (("with", with_probe), ("bare", bare)):
        run_refine(RunRequest(scan=scan, output_dir=tmp_path / name, overrides=SETTINGS))
    assert fourier_error(tmp_path / "bare") < 1.05 * fourier_error(tmp_path / "with")
    told = read_product(tmp_path / "bare" / "reconstruction.h5").metadata.provenance["conversions"]
    assert any("from the root of the mean pattern" in one for one in told)


def test_a_network_predicts_a_scan_without_a_probe(bare: Path, tmp_path: Path) -> None:
    run_infer(RunRequest(scan=bare, output_dir=tmp_path, overrides={"execution.accelerator": "cpu"}))
    assert np.isfinite(fourier_error(tmp_path))


def test_a_probe_of_the_scan_is_kept_unless_another_is_asked_for(with_probe: Path) -> None:
    with open_scan(with_probe) as scan:
        assert with_start_probe(scan, settings()) is scan
        other = with_start_probe(scan, settings(probe="mean_pattern:defocus_m=1.2e-4"))
        assert isinstance(other, Scan)
        assert other.probe is not None
        assert scan.probe is not None
        assert not np.array_equal(other.probe, scan.probe)
        assert "120 um out of focus (as given)" in other.header.conversions[-1]


def test_the_found_probe_is_the_same_each_time(bare: Path) -> None:
    with open_scan(bare) as scan:
        one, other = (with_start_probe(scan, settings()) for _ in range(2))
        assert isinstance(one, Scan)
        assert isinstance(other, Scan)
        assert one.header.n_modes == 1
        np.testing.assert_array_equal(one.probe, other.probe)


def test_a_probe_may_come_from_a_file_of_any_kind(with_probe: Path, bare: Path, tmp_path: Path) -> None:
    with open_scan(with_probe) as scan, open_scan(bare) as lacking:
        assert scan.probe is not None
        np.save(tmp_path / "probe.npy", scan.probe[0, 2:-2, 2:-2])
        np.savez(tmp_path / "probe.npz", probeGuess=scan.probe)
        for name in ("probe.npz", "probe.npy"):
            found = with_start_probe(lacking, settings(probe=str(tmp_path / name)))
            assert isinstance(found, Scan)
            inner = np.s_[:, 2:-2, 2:-2]
            np.testing.assert_array_equal(np.asarray(found.probe)[inner], scan.probe[inner])
        found = with_start_probe(lacking, settings(probe=str(with_probe)))
        assert isinstance(found, Scan)
        np.testing.assert_array_equal(found.probe, scan.probe)


@pytest.mark.parametrize("name", ["missing.npy", "text.h5"])
def test_a_file_without_a_probe_is_refused(name: str, bare: Path, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("nothing")
    with open_scan(bare) as scan, pytest.raises(DataFormatError, match=r"data\.probe = "):
        with_start_probe(scan, settings(probe=str(tmp_path / name)))


def test_a_bare_scan_is_no_source_of_a_probe(bare: Path) -> None:
    with open_scan(bare) as scan, pytest.raises(DataFormatError, match="is a scan without a probe"):
        with_start_probe(scan, settings(probe=str(bare)))


def test_patterns_of_the_near_field_do_not_tell_a_probe(bare: Path) -> None:
    with open_scan(bare) as scan, pytest.raises(ConfigError, match=r"Give --probe FILE"):
        with_start_probe(scan, settings(propagation="near_field"))


def test_too_few_patterns_do_not_tell_a_probe(bare: Path) -> None:
    with open_scan(bare) as scan:
        few = Scan(replace(scan.header, n_patterns=7), scan.raw, scan.options, scan.state)
        with pytest.raises(ConfigError, match="has 7 patterns; expected 8"):
            with_start_probe(few, settings())
