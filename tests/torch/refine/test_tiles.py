"""Refinement by tiles: how a scan is cut, that tiles agree, and that the ranks that own them change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.tiles import seams, seams_of
from ptycho_dist.config.refine import default_tiles
from ptycho_dist.data.formats.product_h5 import Product, read_product
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError, RefinementError
from ptycho_dist.factory.refine import create_refine_payload
from ptycho_dist.launching.signals import StopRequested
from ptycho_dist.physics.propagators import NearField, wavelength_m
from ptycho_dist.refine import checkpoint
from ptycho_dist.refine.tiles.cutting import Rectangle, cut, gaps
from ptycho_dist.refine.tiles.joining import extrapolated, total, weight
from tests.support.launch import run
from tests.support.truth import Truth, make_truth
from tests.torch.refine.conftest import Refine, phase_error_rad, product_of
from tests.torch.refine.test_run import require_equal, stop_at

EVERYTHING: dict[str, Any] = {
    "iterations": 4, "tiles": 3, "position_start": 1, "flux": True, "background": "pixel", "n_modes": 2,
    "momentum": 0.2, "cooling": 0.5,
}  # fmt: skip


def test_tiles_have_equal_counts_and_each_pattern_once() -> None:
    positions = np.random.default_rng(0).uniform(0, 100, (103, 2))
    tiles = cut(positions, 5)
    assert sorted(len(one) for one in tiles) == [20, 20, 21, 21, 21]
    assert np.array_equal(np.sort(np.concatenate(tiles)), np.arange(103))
    assert all((np.diff(one) > 0).all() for one in tiles)


def test_tiles_are_compact_and_a_run_of_them_too() -> None:
    grid = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0), indexing="ij"), -1).reshape(-1, 2)
    tiles = cut(grid, 16)
    assert all((np.ptp(grid[one], axis=0) == 3).all() for one in tiles)
    assert (np.ptp(grid[np.concatenate(tiles[:4])], axis=0) == 7).all()


def test_changes_are_summed_in_the_dark_and_averaged_in_full_light() -> None:
    dark, bright = torch.tensor([1e-6]), torch.tensor([50.0])
    assert torch.allclose(weight(dark, 2 * dark), torch.ones(1), atol=1e-5)
    assert torch.allclose(weight(bright, bright + 150.0), torch.tensor([0.25]))
    assert torch.equal(weight(bright, bright), torch.ones(1))


def test_tiles_that_share_a_part_find_the_same_bits_in_it() -> None:
    rng = torch.Generator().manual_seed(0)
    places = [Rectangle((0, 0), (6, 6)), Rectangle((0, 3), (6, 9)), Rectangle((2, 2), (8, 8))]
    said = [torch.randn(*one.shape, dtype=torch.complex64, generator=rng) for one in places]
    found = []
    for number, place in enumerate(places):
        others = {}
        for other, there in enumerate(places):
            part = place.common(there)
            if other != number and part is not None:
                others[other] = part, said[other][part.inside(there)]
        found.append(total(number, place, said[number], others))
    common = Rectangle((2, 3), (6, 6))
    first, *rest = (one[common.inside(place)] for one, place in zip(found, places, strict=True))
    assert all(torch.equal(one, first) for one in rest)
    assert not torch.equal(first, said[0][common.inside(places[0])])


@pytest.mark.parametrize("seed", range(4))
def test_gaps_and_rectangles_cover_a_canvas(seed: int) -> None:
    rng, canvas = np.random.default_rng(seed), (700, 90)
    corners = rng.integers(0, (600, 60), (seed * 3, 2))
    rectangles = [Rectangle((y, x), (y + int(rng.integers(1, 100)), x + int(rng.integers(1, 30)))) for y, x in corners]
    covered, filled = np.zeros(canvas, np.bool_), np.zeros(canvas, np.int64)
    for one in rectangles:
        covered[one.slices] = True
    for gap in gaps(rectangles, canvas):
        filled[gap.slices] += 1
    assert np.array_equal(filled, ~covered)


def test_probe_changes_that_disagree_are_extrapolated_and_those_that_agree_are_averaged() -> None:
    before = torch.zeros(2, dtype=torch.complex64)
    one, other = torch.tensor([1.0, 0.0 + 0j]), torch.tensor([0.0, 1.0 + 0j])
    assert torch.allclose(extrapolated(before, [one, one], [0.5, 0.5]), one)
    assert torch.allclose(extrapolated(before, [one, other], [0.5, 0.5]), (one + other) * 0.5**0.5)
    opposite = extrapolated(before, [one, -0.9 * one], [0.5, 0.5])
    assert torch.allclose(opposite, 0.05 * 2**0.5 * one)


def test_more_tiles_than_patterns_are_refused(truth: Truth, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"refine\.tiles = 50 with the 49 patterns"):
        create_refine_payload(truth.path, tmp_path / "out", {"tiles": 50})


def test_number_of_tiles_is_recorded_and_changes_the_result(truth: Truth, tmp_path: Path) -> None:
    one, two = (create_refine_payload(truth.path, tmp_path / "out", {"tiles": count}) for count in (1, 2))
    plain = create_refine_payload(truth.path, tmp_path / "out")
    assert plain.refine_config.tiles == 1
    assert plain.result_fingerprint() == one.result_fingerprint() != two.result_fingerprint()


@pytest.mark.parametrize(("canvas_px", "n_patterns", "expected"), [
    (4156**2, 200_000, 1), (8192**2, 10**6, 1), (16_384**2, 34_000, 64), (16_384**2, 1000, 4), (16_384**2, 300, 1),
    (65_536**2, 10**7, 1024), (None, 10**6, 1),
])  # fmt: skip
def test_large_objects_are_cut_where_nothing_is_set(canvas_px: int | None, n_patterns: int, expected: int) -> None:
    assert default_tiles(canvas_px, n_patterns) == expected


@pytest.mark.parametrize("settings", [
    {}, {"alpha": 0.3}, {"method": "lsqml"}, {"method": "gradient", "iterations": 60}, {"cpu_loops": "torch"},
    {"precision": "64-true"}, {"momentum": 0.0},
], ids=str)  # fmt: skip
def test_object_by_small_tiles_is_nearly_as_good_as_at_once(
    many: Truth, refine: Refine, settings: dict[str, Any]
) -> None:
    settings = {"iterations": 20} | settings
    whole = refine(many.path, **settings, tiles=1, name="whole")
    tiled = refine(many.path, **settings, tiles=4, name="tiled")
    assert tiled.fourier_errors[-1] < 1.1 * whole.fourier_errors[-1]
    assert phase_error_rad(product_of(tiled), many) < 1.3 * phase_error_rad(product_of(whole), many) + 1e-3


def test_borders_of_tiles_leave_no_seam(many: Truth, refine: Refine) -> None:
    whole, tiled = (refine(many.path, iterations=20, tiles=count, name=str(count)) for count in (1, 4))
    found, expected = seams_of(tiled.product_path, 4), seams_of(whole.product_path, 4)
    assert 0.95 < found / expected < 1.05
    product = product_of(tiled)
    turned = product.object_.copy()
    turned[:, turned.shape[1] // 2 :] *= np.exp(0.2j)
    corners = product.positions_px - np.asarray(product.geometry.object_origin_px)
    assert seams(turned, corners, 32, 4) > 1.05 * expected


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Make a scan of 196 patterns, without noise."""
    return make_truth(tmp_path_factory.mktemp("many") / "scan.h5", across=14)


def test_near_field_and_mask_by_tiles(tmp_path: Path, refine: Refine) -> None:
    like = torch.zeros((), dtype=torch.complex128)
    units = {"pixel_size_m": 1e-7, "energy_eV": 8000.0, "detector_distance_m": 2e-3}
    near = NearField.over(32, 1e-7, wavelength_m(8000.0), units["detector_distance_m"], like)
    mask = np.ones((32, 32), np.bool_)
    mask[5:8, 20:25] = False
    truth = make_truth(tmp_path / "near.h5", across=10, propagator=near, mask=mask, **units)
    settings = {"iterations": 15, "propagation": "near_field"}
    whole, tiled = (refine(truth.path, **settings, tiles=count, name=str(count)) for count in (1, 3))
    assert tiled.fourier_errors[-1] < 1.15 * whole.fourier_errors[-1]


@pytest.mark.parametrize("memory_GiB", [1e-9, 5e-5])
def test_tiles_that_do_not_fit_memory_give_the_same_bits(truth: Truth, refine: Refine, memory_GiB: float) -> None:
    whole = refine(truth.path, **EVERYTHING, name="whole")
    require_equal(refine(truth.path, **EVERYTHING, memory_GiB=memory_GiB, name="pieces"), whole)


@pytest.mark.parametrize("method", ["pie", "lsqml", "gradient"])
def test_stopped_refinement_by_tiles_resumes_with_the_same_bits(truth: Truth, refine: Refine, method: str) -> None:
    whole = refine(truth.path, **EVERYTHING, method=method, name="whole")
    with pytest.raises(StopRequested):
        refine(truth.path, **EVERYTHING, method=method, callbacks=(stop_at(2),))
    require_equal(refine(truth.path, **EVERYTHING, method=method, resume=True), whole)


@pytest.mark.parametrize(("method", "ranks"), [("pie", (2, 3, 4)), ("gradient", (2,))])
def test_any_number_of_ranks_gives_the_same_bits(
    truth: Truth, tmp_path: Path, method: str, ranks: tuple[int, ...]
) -> None:
    expected = on_ranks(truth, tmp_path, 1, method)
    for world in ranks:
        found = on_ranks(truth, tmp_path, world, method)
        for name in ("object_", "probe", "positions_px", "losses"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), (world, name)
        assert all(np.array_equal(found.extras[name], expected.extras[name]) for name in ("flux", "background"))


def test_ranks_resume_what_one_has_begun(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    settings = EVERYTHING | {"method": "gradient"}
    with pytest.raises(StopRequested):
        refine(truth.path, **settings, name="gradient_2", callbacks=(stop_at(2),))
    saved = load_file(tmp_path / "gradient_2" / f"{checkpoint.PARTS}.2" / "ones.tile.2.safetensors")
    assert any("method" in name for name in saved)
    expected = product_of(refine(truth.path, **settings, name="whole"))
    found = on_ranks(truth, tmp_path, 2, "gradient", "--resume", "true")
    for name in ("object_", "probe", "positions_px", "losses"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def two_islands(path: Path) -> Truth:
    """Make a scan of 98 patterns in two places, with room between them that no pattern sees."""
    made = make_truth(path)
    with open_scan(path) as scan:
        patterns = scan.read_patterns(np.arange(49))
    positions = np.concatenate([made.positions_px, made.positions_px + 300])
    content = ScanContent(
        patterns=[np.concatenate([patterns, patterns])], positions_px=positions, probe=made.probe.astype(np.complex64)
    )
    write_scan_h5(path, content)
    return replace(made, positions_px=positions)


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_no_tile_covers_is_as_it_was(tmp_path: Path, refine: Refine, ranks: int) -> None:
    islands = two_islands(tmp_path / "islands.h5")
    first = refine(islands.path, iterations=1, name="first")
    with h5py.File(first.product_path, "r+") as file:
        file["object"][0, 150:160, :] = 0.25 + 0.5j
    again = {"iterations": 2, "tiles": 2, "uncertainty": False}
    if ranks == 1:
        found = product_of(refine(islands.path, start=first.product_path, **again, name="again"))
    else:
        line = ["refine", islands.path, "--start", first.product_path, "--output_dir", tmp_path / "again"]
        done = run([*line, "--iterations", 2, "--tiles", 2, "--devices", ranks, "--accelerator", "cpu", "--quiet"])
        assert done.returncode == 0, done.stderr
        found = read_product(tmp_path / "again" / "reconstruction.h5")
    start = product_of(first)
    assert found.object_.shape == start.object_.shape
    uncovered = np.ones(start.object_.shape, np.bool_)
    uncovered[:100, :100] = uncovered[-100:, -100:] = False
    assert np.array_equal(found.object_[uncovered], start.object_[uncovered])
    assert np.abs(found.object_ - start.object_)[:60, :60].max() > 1e-3
    assert np.abs(found.object_ - start.object_)[-60:, -60:].max() > 1e-3


def test_whole_that_tiles_bring_together_is_what_they_write_in_pieces(
    many: Truth, refine: Refine, tmp_path: Path
) -> None:
    pieces, whole = (
        product_of(refine(many.path, iterations=4, tiles=4, flux=True, uncertainty=asked, name=str(asked)))
        for asked in (False, True)
    )
    for name in ("object_", "probe", "positions_px"):
        assert np.array_equal(getattr(pieces, name), getattr(whole, name)), name
    assert np.array_equal(pieces.extras["flux"], whole.extras["flux"])


def test_saved_state_without_one_of_its_tiles_is_refused(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    for iteration, resume in ((1, False), (2, True)):
        with pytest.raises(StopRequested):
            refine(truth.path, iterations=4, tiles=3, callbacks=(stop_at(iteration),), resume=resume)
    assert [one.name for one in (tmp_path / "out").glob(f"{checkpoint.PARTS}.*")] == [f"{checkpoint.PARTS}.2"]
    part = tmp_path / "out" / f"{checkpoint.PARTS}.2" / "ones.tile.1.safetensors"
    whole = part.read_bytes()
    part.write_bytes(whole[:-50])
    with pytest.raises(RefinementError, match=r"ones\.tile\.1\.safetensors is damaged .* --resume false"):
        refine(truth.path, iterations=4, tiles=3, resume=True)
    part.unlink()
    with pytest.raises(RefinementError, match=r"ones\.tile\.1\.safetensors is missing; .* --resume false"):
        refine(truth.path, iterations=4, tiles=3, resume=True)
    part.write_bytes(whole)
    refine(truth.path, iterations=4, tiles=3, resume=True)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["product.h5"]


def on_ranks(truth: Truth, folder: Path, world: int, method: str, *more: object) -> Product:
    """Refine by the command, in so many processes; the fourth has no tile."""
    settings = [f"--{name}={value}" for name, value in (EVERYTHING | {"method": method}).items() if value is not True]
    out = folder / f"{method}_{world}"
    line = ["refine", truth.path, "--output_dir", out, "--accelerator", "cpu", "--flux", "true", "--quiet"]
    done = run([*line, "--devices", world, *settings, *more])
    assert done.returncode == 0, done.stderr
    return read_product(out / "reconstruction.h5")
