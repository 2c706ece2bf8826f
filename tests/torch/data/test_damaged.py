"""Damaged and hostile files, by chance: each is read or refused in words, whatever is wrong with it.

Every input is tried in a process that is watched: nothing else may be raised, no input may take over 10 s, the memory
may not grow by more than 200 MB, and no file outside the folder of the scan may be opened. Inputs are counted.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from ptycho_dist.commands.inspect import describe
from ptycho_dist.data.formats.results.reading import read_result
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import PtychoDistError
from tests.support.foreign import DETECTOR_PIXEL_M, DISTANCE_M, DX_M, POSITIONS_PX, RAW, WAVELENGTH_M
from tests.support.mutations import OUTSIDE, damage
from tests.support.scans import make_scan, write_own, write_ptychopinn, write_tike
from tests.support.watched import OpenedFiles, watched
from tests.torch.data.maps import test_shipped_maps as beamlines
from tests.torch.data.readers.test_spoiled import FILES
from tests.torch.data.readers.test_stem import OLD_FIELD, empad, mib

CI_INPUTS, ALL_INPUTS = 2_000, 20_000
LIMIT_S, MOST_GROWTH_BYTES = 10.0, 200 << 20
MADE = make_scan()
METRES = POSITIONS_PX * DX_M
MAP = """match: [entry/frames]
patterns: {path: entry/frames, axes: [frame, y, x], kind: counts, file: "{stem}.h5"}
positions: {y: {path: entry/y, unit: um}, x: {path: entry/x, unit: um}}
mask: {path: entry/mask, nonzero: bad}
energy: {path: entry/energy, unit: keV}
distance: {value: 2.0, unit: m}
detector_pixel: {value: 75, unit: um}
"""


def _with_map(folder: Path) -> Path:
    with h5py.File(folder / "s.h5", "w") as file:
        file["entry/frames"], file["entry/energy"] = RAW, 9.2
        file["entry/y"], file["entry/x"] = METRES.T * 1e6
        file["entry/mask"] = np.zeros(RAW.shape[1:], np.uint8)
    (folder / "map.yaml").write_text(MAP)
    return folder / "s.h5"


def _ptychonn(folder: Path) -> Path:
    np.savez(folder / "s.npz", reciprocal=RAW, position=METRES, pixelsize=DX_M)
    return folder / "s.npz"


def _matlab(folder: Path) -> Path:
    content = {"ptychogram": np.moveaxis(RAW, 0, -1), "encoder": METRES, "wavelength": WAVELENGTH_M}
    content |= {"zo": DISTANCE_M, "dxd": DETECTOR_PIXEL_M}
    savemat(folder / "s.mat", content, do_compression=True)
    return folder / "s.mat"


def _mib(folder: Path) -> Path:
    pytest.importorskip("rsciio", reason="the package rosettasciio is not installed")
    return mib(folder / "s.mib", np.ones((4, 256, 256), np.uint16))


def _of(layout: Callable[[], beamlines.Layout]) -> Callable[[Path], Path]:
    return lambda folder: beamlines.made(layout(), folder)


KINDS: dict[str, Callable[[Path], Path]] = {
    **FILES,
    **{f"map {make.__name__}": _of(make) for make in beamlines.LAYOUTS},
    "map of the user": _with_map,
    "own": lambda folder: write_own(folder / "s.h5", MADE),
    "tike": lambda folder: write_tike(folder / "s.npz", MADE),
    "ptychopinn": lambda folder: write_ptychopinn(folder / "s.npz", MADE),
    "ptychonn": _ptychonn,
    "matlab5": _matlab,
    "empad": lambda folder: empad(folder, OLD_FIELD),
    "mib": _mib,
}
REAL = (
    "written/cdtools.cxi",
    "written/foldslice_dp.hdf5",
    "written/ptychodus_diffraction.h5",
    "written/ptychodus_ptychopinn.npz",
    "written/ptypy_append.ptyd",
    "byhand/eiger/fly001_master.h5",
    "byhand/ptylab.hdf5",
    "real/PETRAIII_P25_Near_Field_Ptycho_first80.cxi",
)
ELECTRONS = {"scan_shape": (2, 2), "scan_step_m": 1e-10, "angle_per_pixel_rad": 1e-4, "energy_eV": 2e5}
LAYOUT_OPTIONS = {f"map {make.__name__}": make().options for make in beamlines.LAYOUTS}


def _options(kind: str, path: Path) -> ScanOptions:
    settings: dict[str, Any] = dict(LAYOUT_OPTIONS.get(kind, {}))
    settings |= {"map": str(path.with_name("map.yaml"))} if kind == "map of the user" else {}
    settings |= {"positions_file": str(path.with_name("p.csv"))} if kind == "dectris" else {}
    settings |= ELECTRONS if kind == "mib" else {}
    return ScanOptions(**settings)


def _open(path: Path, options: ScanOptions, number: int) -> None:
    if path.stem == "r":
        read_result(path)
    elif number % 15 == 14:
        describe(path, options)
    else:
        with open_scan(path, options) as scan:
            scan.counts(slice(0, 4))


def _try(work: Path, kind: str, name: str, seed: int) -> tuple[str, bool]:
    """Damage a copy of the folder of a scan, and read it."""
    folder = work / "scan"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / "whole", folder)
    (folder / "linked.h5").symlink_to(work / OUTSIDE / "secret.h5")
    done = damage(folder, np.random.default_rng([seed, *kind.encode()]))
    opened = OpenedFiles(work / OUTSIDE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _open(folder / name, _options(kind, folder / name), seed)
        was_read = True
    except PtychoDistError:
        was_read = False
    except BaseException as error:
        error.add_note(done)
        raise
    finally:
        escaped = opened.names()
        opened.close()
    if escaped:
        msg = f"{done}: {escaped} outside the folder of the scan was opened"
        raise AssertionError(msg)
    return done, was_read


def _prepare(work: Path, copy: Callable[[Path], Path]) -> str:
    """Write the scan, and a file that is none of its business; return the name of the scan."""
    for name in ("whole", OUTSIDE):
        (work / name).mkdir()
    with h5py.File(work / OUTSIDE / "secret.h5", "w") as file:
        file["values"] = np.arange(100_000.0)
    return copy(work / "whole").name


def _fuzz(work: Path, kind: str, copy: Callable[[Path], Path], inputs: int) -> None:
    name = _prepare(work, copy)
    whole = work / "whole" / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _open(whole, _options(kind, whole), 0)
    outcome = watched(inputs, lambda number: _try(work, kind, name, number), work / "notes", LIMIT_S)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.read + outcome.refused + outcome.library_hangs == inputs
    assert outcome.library_hangs <= 1 + inputs / 200
    assert outcome.refused > inputs / 10 - 2
    assert outcome.grown_bytes < MOST_GROWTH_BYTES


def _share(total: int, kinds: int) -> int:
    return -(-total // kinds)


COUNTS = [_share(CI_INPUTS, len(KINDS)), pytest.param(_share(ALL_INPUTS, len(KINDS)), marks=pytest.mark.exhaustive)]


@pytest.mark.parametrize("inputs", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused(kind: str, inputs: int, tmp_path: Path) -> None:
    _fuzz(tmp_path, kind, KINDS[kind], inputs)


@pytest.mark.parametrize("inputs", [10, pytest.param(300, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", REAL)
def test_a_damaged_file_of_another_program_is_read_or_refused(
    data_dir: Path, name: str, inputs: int, tmp_path: Path
) -> None:
    path = data_dir / "formats" / name

    def copy(folder: Path) -> Path:
        beside = {one for one in path.parent.glob(f"{path.stem.split('_')[0]}*") if one.is_file()}
        for one in beside | {path}:
            shutil.copyfile(one, folder / one.name)
        return folder / path.name

    _fuzz(tmp_path, name, copy, inputs)
