"""A look at all patterns of a scan: what is wrong, what is odd, and what settles it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.ndimage import uniform_filter

import ptycho_dist as ptd
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.scan import open_looked_at, open_scan, open_unselected, survey_of
from ptycho_dist.data.survey.cache import CACHE_VARIABLE
from ptycho_dist.data.survey.collect import Survey, join, survey_rows, take_sample
from ptycho_dist.data.survey.gain import gain_of_noise
from ptycho_dist.distributed.sharding import shards
from ptycho_dist.errors import DataFormatError
from tests.support.scans import MadeScan, make_scan, write_own, write_ptychopinn, write_tike

COUNT, N = 40, 32
LIMITS = [("u1", 255), ("u2", 65535), ("i4", 2**31 - 1), ("u4", 2**32 - 1), ("u4", 2**32 - 3), ("u4", 65535),
          ("f4", 65535), ("f4", 2**32 - 1), ("f4", 255)]  # fmt: skip
GAP = np.s_[:, 5:8]


def made(**changes: Any) -> MadeScan:
    return make_scan(COUNT, N, **({"photons": 2e3} | changes))


def written(folder: Path, counts: np.ndarray, dtype: str = "u2", **content: Any) -> Path:
    """Write counts in a type of numbers that the project's own writer would refuse or change."""
    path = write_own(folder / "scan.h5", made(), object_=None, **content)
    with h5py.File(path, "r+") as file:
        del file["patterns"]
        file.create_dataset("patterns", data=counts.astype(dtype), chunks=(1, N, N)).attrs["units"] = "counts"
    return path


def kinds(path: Path, severity: str, **options: Any) -> set[str]:
    with open_looked_at(path, ScanOptions(**options)) as scan:
        return {one.kind for one in scan.findings if one.severity == severity}


@pytest.mark.parametrize("write", [write_own, write_tike, write_ptychopinn])
def test_nothing_is_wrong_with_a_sound_scan(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / ("s.h5" if write is write_own else "s.npz"), made())
    assert kinds(path, "wrong") == set()
    assert kinds(path, "odd") <= {"overlap"}


@pytest.mark.parametrize(("dtype", "value"), LIMITS)
def test_a_gap_at_the_maximum_of_any_type_is_refused_and_masked_on_request(
    tmp_path: Path, dtype: str, value: int
) -> None:
    counts = np.minimum(made().counts.astype("f8"), 200)
    counts[GAP] = value
    path = written(tmp_path, counts, dtype)
    assert kinds(path, "wrong") == {"stuck"}
    with pytest.raises(DataFormatError, match=r"96 pixel\(s\).* hold .* in every pattern.*mask_saturated=True"):
        ptd.refine_object(path, output_dir=tmp_path / "o", iterations=1, accelerator="cpu")
    with open_looked_at(path, ScanOptions(mask_saturated=True)) as scan:
        assert scan.mask is not None
        assert np.array_equal(~scan.mask[GAP[1]], np.ones((3, N), bool))
        assert not [one for one in scan.findings if one.severity == "wrong"]
        assert scan.counts()[GAP].max() == 0
        assert scan.header.mean_counts == pytest.approx(scan.counts().sum(axis=(1, 2)).mean())


def test_pixels_that_hold_no_number_are_masked_on_request(tmp_path: Path) -> None:
    counts = made().counts.astype("f4")
    counts[:, 3, 4], counts[:, 9, 9] = np.nan, -1
    path = written(tmp_path, counts, "f4")
    assert kinds(path, "wrong") == {"no_number"}
    with open_scan(path, ScanOptions(mask_saturated=True)) as scan:
        assert scan.mask is not None
        assert np.argwhere(~scan.mask).tolist() == [[3, 4], [9, 9]]
        scan.counts()


def test_overexposed_pixels_are_odd_also_below_the_maximum_of_the_type(tmp_path: Path) -> None:
    counts = made(photons=1e6).counts
    level = float(np.percentile(counts.max(axis=(1, 2)), 40))
    path = written(tmp_path, np.minimum(counts, round(level)))
    assert kinds(path, "odd") >= {"saturated"}
    assert kinds(path, "odd", mask_saturated=False).isdisjoint({"saturated"})
    assert kinds(written(tmp_path, np.minimum(counts, 255), "u1"), "odd") >= {"saturated"}


def test_empty_and_never_written_patterns_are_refused_and_dropped_on_request(tmp_path: Path) -> None:
    counts = made().counts
    counts[[3, 11]] = 0
    path = written(tmp_path, counts)
    with h5py.File(path, "r+") as file:
        del file["patterns"]
        dataset = file.create_dataset("patterns", counts.shape, "u2", chunks=(1, N, N))
        dataset[:35] = counts[:35]
    with open_looked_at(path) as scan:
        found = {one.kind: one.frames for one in scan.findings if one.severity == "wrong"}
    assert found == {"unwritten": (35, 36, 37, 38, 39), "empty": (3, 11)}
    with open_looked_at(path, ScanOptions(drop_frames="auto")) as scan:
        kept = np.setdiff1d(np.arange(35), [3, 11])
        np.testing.assert_array_equal(scan.counts(), counts[kept])
        np.testing.assert_array_equal(scan.positions_px, made().positions_px[kept])
        assert not [one for one in scan.findings if one.severity == "wrong"]
    assert kinds(path, "wrong", drop_frames="none") == set()
    assert kinds(path, "odd", drop_frames="3") >= {"empty", "unwritten"}, "who names one has not decided about others"
    assert not kinds(path, "odd", drop_frames="3,11,35-39") & {"empty", "unwritten"}


@pytest.mark.parametrize("fault", ["bright", "flat", "lost"])
def test_outlying_patterns_are_found_and_dropped_on_request(tmp_path: Path, fault: str) -> None:
    counts = made(photons=1e4).counts.astype("f4")
    total = counts.sum(axis=(1, 2)).mean()
    counts[[5, 20]] = {"bright": 1e6, "flat": round(total / N**2), "lost": np.nan}[fault]
    path = written(tmp_path, counts, "f4")
    with open_looked_at(path) as scan:
        found = {one.kind: one for one in scan.findings if one.frames}
    (one,) = found.values()
    assert one.frames == (5, 20)
    assert (one.kind, one.severity) == {
        "bright": ("outlying", "odd"),
        "flat": ("unlike", "odd"),
        "lost": ("lost", "wrong"),
    }[fault]
    with open_scan(path, ScanOptions(drop_frames="auto")) as scan:
        assert len(scan) == COUNT - 2
        scan.counts()


def test_hot_and_dark_pixels_are_odd(tmp_path: Path) -> None:
    counts = made(photons=1e6).counts
    counts[:, 1, 30] += 5000
    counts[:, 16, 18] = 0
    assert kinds(written(tmp_path, counts), "odd") >= {"hot", "dark"}


def test_lit_rows_and_columns_without_a_count_are_odd_and_beam_stops_are_not(tmp_path: Path) -> None:
    counts = made(photons=1e5).counts
    counts[:, 14:16] = 0
    counts[:, :, 20] = 0
    path = written(tmp_path, counts)
    with open_looked_at(path) as scan:
        (gap,) = [one for one in scan.findings if one.kind == "gap"]
    assert gap.severity == "odd"
    assert "94 pixel(s)" in gap.text
    counts = made(photons=1e5).counts
    counts[:, 14:18, 14:18] = 0
    assert "gap" not in kinds(written(tmp_path, counts), "odd")


def test_patterns_that_differ_in_two_pixels_are_no_copies(tmp_path: Path) -> None:
    counts = np.rint(made(photons=1e7).counts).astype("u4")
    counts[30] = counts[29]
    flat, mean = counts[30].reshape(-1), uniform_filter(counts.mean(axis=0), 3).ravel()
    order = np.argsort(mean)
    alike = np.diff(np.sqrt(mean[order])) * np.abs(np.diff(np.sqrt(flat[order].astype("f8"))))
    place = min((at for at in range(len(alike)) if alike[at]), key=lambda at: float(alike[at]))
    one, other = order[place], order[place + 1]
    flat[[one, other]] = flat[[other, one]]
    with open_looked_at(written(tmp_path, counts, "u4")) as scan:
        assert not [one for one in scan.findings if one.kind == "copied"]


def test_copies_of_a_pattern_at_other_places_are_odd_and_several_exposures_of_a_place_are_not(tmp_path: Path) -> None:
    counts = made().counts
    counts[30:] = counts[29]
    with open_looked_at(written(tmp_path, counts)) as scan:
        (one,) = [one for one in scan.findings if one.kind == "copied"]
    assert one.frames == tuple(range(30, COUNT))
    positions = made().positions_px.copy()
    positions[1::2] = positions[::2]
    assert not kinds(written(tmp_path, made().counts, positions_px=positions), "odd") & {"copied", "doubled"}
    positions[30:] = 0
    assert "doubled" in kinds(written(tmp_path, made().counts, positions_px=positions), "odd")


def test_a_zero_frequency_in_the_corners_and_steps_below_a_pixel_are_odd(tmp_path: Path) -> None:
    counts = np.fft.ifftshift(made().counts, axes=(1, 2))
    assert "corners" in kinds(written(tmp_path, counts), "odd")
    assert "step" in kinds(written(tmp_path, made().counts, positions_px=made().positions_px / 50), "odd")


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_negative_values_of_a_subtracted_dark_are_no_fault_once_they_are_said_to_be_counts(
    tmp_path: Path, dtype: str
) -> None:
    noise = np.random.default_rng(0).normal(-4, 3, (COUNT, N, N))
    path = written(tmp_path, np.rint(30 * made().counts + noise), dtype)
    assert "lost" in kinds(path, "wrong") or "no_number" in kinds(path, "wrong")
    assert kinds(path, "wrong", intensity_kind="counts", counts_per_photon=30.0) == set()
    dead = np.rint(30 * made().counts)
    dead[:, 3, 4] = -1
    asked = {"intensity_kind": "counts"}
    assert kinds(written(tmp_path, dead, "i4"), "wrong", **asked) == {"no_number"}


def test_pixels_without_a_number_in_some_patterns_are_told_before_they_are_read(tmp_path: Path) -> None:
    counts = made().counts
    counts[5, :, 3] = np.nan
    path = written(tmp_path, counts, "f4")
    assert kinds(path, "wrong") == {"no_number"}
    with open_scan(path, ScanOptions(mask_saturated=True)) as scan:
        scan.counts()


def test_a_counter_that_stops_in_every_pattern_is_found(tmp_path: Path) -> None:
    counts = made(photons=1e6).counts
    assert "saturated" in kinds(written(tmp_path, np.minimum(counts, 300)), "odd")


def test_patterns_behind_an_opaque_object_are_not_refused(tmp_path: Path) -> None:
    distance = made().positions_px[:, 0]
    counts = np.random.default_rng(0).poisson(made().counts * np.exp(-np.maximum(0, distance - 8) * 1.5)[:, None, None])
    assert (counts.sum(axis=(1, 2)) == 0).any()
    assert kinds(written(tmp_path, counts), "wrong") == set()


def test_positions_that_lie_far_off_or_do_not_overlap_are_odd(tmp_path: Path) -> None:
    scan = made()
    off = scan.positions_px.copy()
    off[7] += 500
    assert "far" in kinds(write_own(tmp_path / "far.h5", scan, positions_px=off), "odd")
    apart = write_own(tmp_path / "apart.h5", scan, positions_px=40 * scan.positions_px)
    with open_looked_at(apart) as opened:
        texts = [str(one) for one in opened.findings if one.kind == "overlap"]
    assert len(texts) == 1
    assert "not even the frames overlap" in texts[0]
    assert "--position_unit" in texts[0]


def test_low_doses_with_empty_patterns_are_no_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = written(tmp_path, rng.poisson(3 / N**2, (COUNT, N, N)))
    assert kinds(path, "wrong") == set()


@pytest.mark.parametrize("world", [1, 3, 7, 60])
def test_parts_of_a_look_join_to_the_whole(tmp_path: Path, world: int) -> None:
    counts = made().counts
    counts[4] = 0
    with open_unselected(written(tmp_path, counts)) as scan:
        sample = take_sample(scan.header.path, scan.raw)
        parts = [survey_rows(scan.header.path, scan.raw, one, sample) for one in shards(COUNT, world)]
        whole, joined = survey_of(scan), join(parts)
    assert_same(joined, whole)


def test_a_look_is_kept_by_content_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    path = written(tmp_path, made().counts)
    with open_unselected(path) as scan:
        first = survey_of(scan)
        (kept,) = (tmp_path / "cache" / "surveys").iterdir()
        before = kept.stat().st_mtime_ns
        assert_same(survey_of(scan), first)
        assert kept.stat().st_mtime_ns == before
        kept.write_bytes(b"damaged")
        assert_same(survey_of(scan), first)
    with open_unselected(written(tmp_path, made(seed=1).counts)) as other:
        assert not np.array_equal(survey_of(other).totals, first.totals)


def assert_same(found: Survey, expected: Survey) -> None:
    for field in fields(Survey):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)


@pytest.mark.parametrize("gain", [1.0, 4.5])
def test_noise_tells_the_counts_per_photon_where_the_probe_is_narrow(gain: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 32
    inside = y**2 + x**2 < 8**2
    waves = [inside * np.exp(1j * rng.uniform(0, 2, (64, 64))) for _ in range(32)]
    means = np.stack([np.abs(np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))) ** 2 for wave in waves]) * 10
    assert gain_of_noise(gain * rng.poisson(means).astype(float)) == pytest.approx(gain, rel=0.1)
    assert gain_of_noise(gain * means) is None or gain_of_noise(gain * means) < 0.01 * gain
    wide = np.stack([np.abs(np.fft.fft2(rng.normal(size=(64, 64, 2)) @ [1, 1j], norm="ortho")) ** 2 for _ in range(32)])
    assert gain_of_noise(rng.poisson(10 * wide).astype(float)) != pytest.approx(1.0, rel=0.1)


def test_sharp_edges_in_every_pattern_are_not_taken_for_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    edges = np.zeros((N, N))
    edges[4:28:3, 4:28:5] = 400.0
    patterns = rng.poisson(edges + rng.uniform(1, 3, (COUNT, 1, 1))).astype("f8")
    assert gain_of_noise(patterns) is None
    assert "noise" not in kinds(written(tmp_path, patterns), "odd")


def test_pixels_beside_a_mask_are_not_hot(tmp_path: Path) -> None:
    mask = np.ones((N, N), bool)
    mask[14:16] = mask[:, 17:19] = False
    y, x = np.mgrid[:N, :N] - 15.5
    steep = 1e5 * np.exp(-np.hypot(y, x))
    counts = np.random.default_rng(0).poisson(np.broadcast_to(steep, (COUNT, N, N))) * mask
    assert "hot" not in kinds(written(tmp_path, counts, "u4", mask=mask), "odd")
