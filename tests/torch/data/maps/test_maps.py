"""Tests of scan maps: what they may say, what they read, and how they are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.maps.loading import SHIPPED, known_maps, load_map, map_of_text
from ptycho_dist.data.maps.reading import measurement_of
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
from ptycho_dist.errors import ConfigError, DataFormatError

DX = 1.23984198e-6 / 8000 * 2.0 / (32 * 75e-6)
RNG = np.random.default_rng(3)
PLAIN = """\
patterns: {path: entry/det}
positions:
  y: {path: entry/y, unit: um}
  x: {path: entry/x, unit: um}
energy: {value: 8, unit: keV}
distance: 2.0
detector_pixel: {value: 75, unit: um}
"""


class Made:
    """A scan of 12 frames, and its parts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scan_7.h5"
        self.frames = RNG.poisson(30.0, (12, 32, 32)).astype(np.uint16)
        self.corners_px = RNG.uniform(0, 40, (12, 2))
        self.corners_m = self.corners_px * DX
        self.write({"entry/det": self.frames, "entry/y": self.um(0), "entry/x": self.um(1)})

    def um(self, axis: int) -> np.ndarray:
        return self.corners_m[:, axis] * 1e6

    def write(self, values: dict[str, Any], name: str | None = None) -> Path:
        path = self.path if name is None else self.path.with_name(name)
        with h5py.File(path, "a") as file:
            for key, value in values.items():
                if key in file:
                    del file[key]
                file[key] = value
        return path

    def open(self, text: str, **options: Any) -> Scan:
        place = self.path.with_name("map.yaml")
        place.write_text(text)
        return open_scan(self.path, ScanOptions(map=str(place), **options))

    def check(self, scan: Scan, rows: Any = slice(None)) -> None:
        with scan:
            np.testing.assert_allclose(scan.positions_px, self.corners_px[rows], atol=1e-9)
            np.testing.assert_array_equal(scan.counts(), self.frames[rows])


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_two_paths(made: Made) -> None:
    made.check(made.open(PLAIN))


def test_units_of_attributes_signs_and_constants(made: Made) -> None:
    made.write({"entry/y": -made.um(0) * 1e3, "entry/mono/e": [8000.0], "entry/z": [[2000.0]]})
    with h5py.File(made.path, "a") as file:
        file["entry/y"].attrs["units"] = b"nm"
        file["entry/z"].attrs["units"] = "mm"
    text = """\
patterns: {path: entry/det}
positions:
  y: {path: entry/y, unit: from_attribute, sign: -1}
  x: [{path: entry/absent, unit: mm}, {path: entry/x, unit: um}]
energy: [{path: entry/nowhere, unit: J}, {path: entry/mono/e, unit: {default: eV}}]
distance: {path: entry/z, unit: from_attribute}
detector_pixel: 75.0e-6
"""
    made.check(made.open(text))
    with pytest.raises(DataFormatError, match="no attribute 'units' that names its unit"):
        made.open(text.replace("{path: entry/x, unit: um}", "{path: entry/x, unit: from_attribute}"))


@pytest.mark.parametrize("shape", ["(B,2)", "(2,B)", "(B,3)", "(3,B)"])
def test_one_array_with_named_axes(made: Made, shape: str) -> None:
    y, x = made.um(0), made.um(1)
    both = np.stack([x, y], axis=1) if "2" in shape else np.stack([x, y, 0 * x], axis=1)
    made.write({"entry/pos": both.T if shape.endswith("B)") else both})
    names = "[x, y]" if "2" in shape else "[x, y, z]"
    axes = f"[{names}, point]" if shape.endswith("B)") else f"[point, {names}]"
    text = PLAIN.replace("  y: {path: entry/y, unit: um}\n  x: {path: entry/x, unit: um}",
                         f"  both: {{path: entry/pos, unit: um}}\n  axes: {axes}")  # fmt: skip
    made.check(made.open(text))


@pytest.mark.parametrize("slow", ["y", "x"])
def test_axes_of_a_raster(made: Made, slow: str) -> None:
    y, x = np.arange(3) * 1.5, np.arange(4) * 0.5
    grid = np.meshgrid(y, x, indexing="ij") if slow == "y" else [one.T for one in np.meshgrid(y, x, indexing="ij")]
    made.corners_m = np.stack([grid[0].ravel(), grid[1].ravel()], axis=1) * 1e-6
    made.corners_px = made.corners_m / DX
    shape = (3, 4, 32, 32) if slow == "y" else (4, 3, 32, 32)
    made.write({"entry/det": made.frames.reshape(shape), "entry/y": y, "entry/x": x})
    made.check(made.open(PLAIN.replace("positions:", f"positions:\n  slow: {slow}")))


def test_full_rasters_and_scalars_of_any_shape(made: Made) -> None:
    made.write({"entry/y": made.um(0).reshape(3, 4), "entry/x": made.um(1).reshape(12, 1, 1)})
    made.check(made.open(PLAIN))


@pytest.mark.parametrize("snake", [False, True])
def test_a_raster_from_its_steps(made: Made, snake: bool) -> None:
    line, point = np.divmod(np.arange(12), 4)
    point = np.where(snake & (line % 2 == 1), 3 - point, point)
    made.corners_px = np.stack([line * 5.0, point * 4.0], axis=1)
    steps = f"step_y: {5 * DX}, step_x: {4 * DX}"
    text = (
        PLAIN.split("positions:")[0] + f"positions: {{raster: {{columns: 4, {steps}, snake: {str(snake).lower()}}}}}\n"
    )
    made.check(made.open(text + PLAIN[PLAIN.index("energy") :]))
    turned = made.open((text + PLAIN[PLAIN.index("energy") :]).replace("snake", "rotation_deg: 90, snake"))
    expected = np.stack([made.corners_px[:, 1], -made.corners_px[:, 0]], axis=1)
    np.testing.assert_allclose(turned.positions_px, expected, atol=1e-9)
    with pytest.raises(DataFormatError, match="12 frames; expected whole rows"):
        made.open(text.replace("columns: 4, ", "") + PLAIN[PLAIN.index("energy") :])


def test_columns_of_a_text_file(made: Made) -> None:
    rows = "\n".join(f"{n} {x:.9f} {y:.9f}" for n, (y, x) in enumerate(made.corners_m * 1e9))
    (made.path.parent / "scan_7_pos.txt").write_text(f"scan of today\n# number Average_x y\n{rows}\n")
    text = PLAIN.replace("{path: entry/y, unit: um}", '{file: "{stem}_pos.*", column: 2, unit: nm}')
    text = text.replace("{path: entry/x, unit: um}", '{file: "{stem}_pos.txt", column: Average_x, unit: nm}')
    with made.open(text) as scan:
        np.testing.assert_allclose(scan.positions_px, made.corners_px, atol=1e-6)
    with pytest.raises(DataFormatError, match="no column 'Average_z'; its heading is number, Average_x, y"):
        made.open(text.replace("Average_x", "Average_z"))
    (made.path.parent / "scan_7_pos.txt").write_text("# a b c\n1 2 3\n1 2\n")
    with pytest.raises(DataFormatError, match=r"line 3 of .* has 'only 2 columns'"):
        made.open(text.replace("Average_x", "b"))


def test_joined_by_index(made: Made) -> None:
    order = RNG.permutation(14)
    y, x = np.append(made.um(0), [0, 1]), np.append(made.um(1), [0, 1])
    made.write({"entry/y": y[order], "entry/x": x[order], "entry/n": order + 100, "entry/m": np.arange(100, 112)})
    join = "  join: {by: index, positions: {path: entry/n}, frames: {path: entry/m}}\nenergy:"
    with made.open(PLAIN.replace("energy:", join)) as scan:
        made.check(scan)
        assert "positions: 2 without a frame left out" in scan.header.conversions
    made.check(made.open(PLAIN.replace("energy:", join.replace(", frames: {path: entry/m}", ", first: 100"))))
    made.write({"entry/n": np.where(order == 3, 104, order + 100)})
    with pytest.raises(DataFormatError, match=r"1 position numbers .* occur twice"):
        made.open(PLAIN.replace("energy:", join))


def test_readings_of_a_trigger_are_averaged_and_frames_without_one_are_told(made: Made) -> None:
    trigger = np.repeat(np.arange(1, 13), 3)
    kept = trigger != 5
    noise = np.tile([-0.1, 0.0, 0.1], 12)
    y, x = np.repeat(made.um(0), 3) + noise, np.repeat(made.um(1), 3) - noise
    made.write({"entry/y": y[kept], "entry/x": x[kept], "entry/t": trigger[kept]})
    join = "  join: {by: trigger, positions: {path: entry/t}, first: 1}\nenergy:"
    with made.open(PLAIN.replace("energy:", join)) as scan:
        made.check(scan, np.delete(np.arange(12), 4))
        assert "positions: 33 readings averaged to 11" in scan.header.conversions
        assert "patterns: 1 of 12 without a position left out" in scan.header.conversions


@pytest.mark.parametrize("said", [0, 1])
def test_numbers_from_0_and_from_1(made: Made, said: int) -> None:
    order = RNG.permutation(12)
    made.write({"entry/y": made.um(0)[order], "entry/x": made.um(1)[order], "entry/n": order + said})
    join = "  join: {by: index, positions: {path: entry/n}}\nenergy:"
    with made.open(PLAIN.replace("energy:", join)) as scan:
        made.check(scan)
        assert f"positions: joined by index, frames counted from {said}" in scan.header.conversions


def test_more_or_fewer_positions_are_refused_with_both_numbers(made: Made) -> None:
    made.write({"entry/y": np.append(made.um(0), 0.0), "entry/x": np.append(made.um(1), 0.0)})
    with pytest.raises(DataFormatError, match="12 frames and 13 positions"):
        made.open(PLAIN)
    with made.open(PLAIN.replace("positions:", "positions:\n  surplus: drop_last")) as scan:
        made.check(scan)
        assert any("last 1 of 13 left out" in one for one in scan.header.conversions)
    made.write({"entry/y": made.um(0)[:-1], "entry/x": made.um(1)[:-1]})
    with pytest.raises(DataFormatError, match="12 frames and 11 positions"):
        made.open(PLAIN.replace("positions:", "positions:\n  surplus: drop_last"))


def test_frames_in_parts_and_files(made: Made) -> None:
    for number in (10, 2, 1):
        first = {1: 0, 2: 5, 10: 6}[number]
        last = {1: 5, 2: 6, 10: 12}[number]
        made.write({"entry/data/data": made.frames[first:last]}, f"scan_7_{number}.h5")
    text = PLAIN.replace("{path: entry/det}", '{path: entry/data/data, file: "{stem}_*.h5"}')
    with made.open(text) as scan:
        made.check(scan)
        assert [one.name for one in scan.companions] == ["scan_7_1.h5", "scan_7_2.h5", "scan_7_10.h5"]


def test_masks_darks_flats_monitors_and_frames(made: Made) -> None:
    mask = np.zeros((32, 32), np.uint32)
    mask[3, 4], mask[5, 6] = 1, 0x1000
    dark = np.stack([np.full((32, 32), 3.0), np.full((32, 32), 5.0)])
    made.write({"entry/m": mask, "entry/dark": dark, "entry/mon": np.linspace(1, 2, 12), "entry/det": made.frames + 4})
    text = (
        PLAIN
        + """\
mask: {path: entry/m, nonzero: bad, good_values: [4096]}
dark: {path: entry/dark}
monitor: {path: entry/mon}
frames: {keep: 2-9, drop: "4"}
"""
    )
    rows = [2, 3, 5, 6, 7, 8, 9]
    with made.open(text) as scan:
        np.testing.assert_allclose(scan.positions_px, made.corners_px[rows], atol=1e-9)
        expected = made.frames[rows].astype(float)
        expected[:, 3, 4] = 0
        monitor = np.linspace(1, 2, 12)[rows]
        np.testing.assert_allclose(scan.counts(), expected * (monitor.mean() / monitor)[:, None, None], rtol=1e-6)
        assert any("7 of 12 taken" in one for one in scan.header.conversions)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "said"),
    [
        ("  y: {path: entry/y, unit: um}", "  y: {path: entry/y, unit: furlong}", 3, "positions.y.unit", "furlong"),
        ("energy:", "enery:", 5, "enery", "unknown key"),
        ("distance: 2.0", "distance: far", 6, "distance", "dictionary|mapping|object"),
        ("{path: entry/det}", "{pth: entry/det}", 1, "patterns.pth", "unknown key"),
        ("{path: entry/det}", "{path: entry/det, axes: [frame, y]}", 1, "patterns.axes", "one y, one x"),
        ("  x: {path: entry/x, unit: um}\n", "", 2, "positions", "expected y: and x:"),
        ("{value: 8, unit: keV}", "{value: 8, path: a, unit: keV}", 5, "energy", "value is a constant"),
    ],
)
def test_faults_are_named_by_line_and_key(tmp_path: Path, old: str, new: str, line: int, key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        map_of_text(PLAIN.replace(old, new), tmp_path / "mine.yaml")
    first = str(caught.value).splitlines()
    assert any(f"mine.yaml, line {line}, {key}" in one for one in first), first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patterns: &a {path: x}\npositions: *a\n", "line 2: an alias"),
        ("patterns: !!python/object/apply:os.system [ls]\n", "line 1: the tag"),
        ("patterns: {path: a\n", "line"),
        ("patterns: {path: a}\npatterns: {path: b}\n", "line 2: 'patterns' is there twice"),
        ("- 1\n", "holds no keys"),
        ("", "holds no keys"),
        ("a: " + "[" * 30 + "]" * 30, "levels"),
    ],
)
def test_only_plain_data_is_read(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        map_of_text(text, tmp_path / "mine.yaml")


@pytest.mark.parametrize("name", ["../scan_7.h5", "/etc/passwd", "sub/../../scan_7.h5"])
def test_files_outside_the_folder_are_refused(made: Made, name: str) -> None:
    with pytest.raises(DataFormatError, match="in the folder of"):
        made.open(PLAIN.replace("{path: entry/det}", f'{{path: entry/det, file: "{name}"}}'))


def test_a_link_out_of_the_folder_is_refused(made: Made, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "scan.h5"
    with h5py.File(path, "w") as file:
        file["entry/det"] = h5py.ExternalLink(str(made.path), "entry/det")
        file["entry/y"], file["entry/x"] = made.um(0), made.um(1)
        file["loop"] = h5py.SoftLink("/loop")
    (tmp_path / "map.yaml").write_text(PLAIN)
    with pytest.raises(DataFormatError, match="not in the folder of the file"):
        open_scan(path, ScanOptions(map=str(tmp_path / "map.yaml")))
    (tmp_path / "map.yaml").write_text(PLAIN.replace("entry/det", "loop"))
    with pytest.raises(DataFormatError, match="leads through more than 16 links"):
        open_scan(path, ScanOptions(map=str(tmp_path / "map.yaml")))
    (inner / "scan_7.h5").write_bytes(made.path.read_bytes())
    (tmp_path / "map.yaml").write_text(PLAIN)
    made.check(open_scan(path, ScanOptions(map=str(tmp_path / "map.yaml"))))


def test_a_map_in_the_users_folder_is_found(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(DataFormatError, match=r"no known scan format.*--write_map"):
        open_scan(made.path)
    folder = tmp_path / "config" / "ptycho_dist" / "maps"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("match: [entry/det, entry/y]\n" + PLAIN)
    with open_scan(made.path) as scan:
        assert scan.header.format_name == "map mine"
        made.check(scan)
    (folder / "mine.yaml").write_text("match: [entry/det, entry/y]\npatterns: {}\n")
    with pytest.raises(ConfigError, match=r"mine.yaml, line 2, patterns"):
        open_scan(made.path)


def test_a_map_and_another_reader_contradict(made: Made, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(PLAIN)
    with pytest.raises(DataFormatError, match="both name a reader"):
        open_scan(made.path, ScanOptions(map=str(tmp_path / "map.yaml"), file_format="ptycho_dist_h5"))
    with pytest.raises(ConfigError, match=r"scan map .*none.yaml is missing"):
        open_scan(made.path, ScanOptions(map=str(tmp_path / "none.yaml")))
    np.savez(tmp_path / "scan.npz", data=np.zeros(3))
    with pytest.raises(DataFormatError, match="a map reads HDF5"):
        open_scan(tmp_path / "scan.npz", ScanOptions(map=str(tmp_path / "map.yaml")))


def test_all_shipped_maps_are_sound_and_found_by_their_paths() -> None:
    found = {path.stem: scan_map for path, scan_map in known_maps() if path.parent == SHIPPED}
    assert len(found) >= 20
    for name, scan_map in found.items():
        assert scan_map.name == name
        assert scan_map.match, name
        assert scan_map.about, name
        assert load_map(SHIPPED / f"{name}.yaml") == scan_map


def test_what_a_map_says_is_a_measurement_in_its_own_units(made: Made, tmp_path: Path) -> None:
    found = measurement_of(made.path, map_of_text(PLAIN, tmp_path / "m.yaml"))
    np.testing.assert_allclose(found.positions.values, made.corners_m)
    assert found.geometry.energy_eV == 8000.0
    assert found.geometry.detector_pixel_m == (pytest.approx(75e-6),) * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "positions: {raster: {rows: 100000, columns: 100000, step_y: 1.0e-7, step_x: 1.0e-7}}",
            "raster of 10000000000",
        ),
        ("positions: {grid: true, y: {path: long}, x: {path: long}}", "raster of 10000000000"),
        ("patterns: {path: wide}", "declares 1000000000000 frames of 32 x 32"),
        ("patterns: {path: large}", r"declares 3 frames of 100000 x 100000"),
        ("patterns: {path: entry/det, axes: [99, y, x]}", "numbers of an axis below its length"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_memory_is_taken(made: Made, text: str, said: str) -> None:
    with h5py.File(made.path, "a") as file:
        file["long"] = np.arange(100_000.0)
        file.create_dataset("wide", (10**12, 32, 32), "u2", chunks=(1, 32, 32))[0] = 1
        file.create_dataset("large", (3, 10**5, 10**5), "u2", chunks=(1, 64, 64))[0, :64, :64] = 1
    key = text.partition(":")[0]
    kept = {"patterns": PLAIN.splitlines()[0], "positions": "\n".join(PLAIN.splitlines()[1:4])}
    kept[key] = text
    with pytest.raises(DataFormatError, match=said):
        made.open("\n".join([*kept.values(), *PLAIN.splitlines()[4:]]) + "\n")
