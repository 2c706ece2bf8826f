"""Files that are taken for scans and are none: results of reconstructions, and what to do with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class NotAScan:
    """A kind of file that is no scan.

    Parameters
    ----------
    container
        Kind of file, such as ``"npz"``.
    has
        Names that are all there.
    lacks
        Names of which none is there.
    sentence
        What it is and what to do, to follow "FILE is no scan, but".
    """

    container: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    sentence: str


_TAKE = "expected a file with diffraction patterns. Take the scan that it was made from"
_KNOWN = (
    NotAScan(
        "npz",
        ("objectGuess", "probeGuess", "xcoords"),
        ("diffraction", "diff3d"),
        f"a reconstruction without patterns (object, probe and positions, as PtychoPINN and SLAC write it); {_TAKE}.",
    ),
    NotAScan(
        "hdf5",
        ("object", "probe", "probe_position_x_m"),
        ("patterns", "diffraction", "dp", "data"),
        f"a reconstruction product (as Ptychodus and this program write it) without patterns; {_TAKE}, or put the file "
        "of patterns (diffraction.h5) beside it. To judge it: ptycho-dist evaluate PRODUCT --scan SCAN.",
    ),
    NotAScan("hdf5", ("content/obj", "content/probe"), (), f"a result of ptypy (.ptyr); {_TAKE}."),
    NotAScan(
        "hdf5",
        ("reconstruction/p/objects",),
        ("measurement/n0/data",),
        f"a result of PtychoShelves or fold_slice; {_TAKE}.",
    ),
    NotAScan(
        "hdf5", ("zled", "ptychogram"), ("zo",), "Fourier ptychography (PtyLab, zled); only scanning data are read."
    ),
    NotAScan(
        "hdf5",
        ("optimizable_tensors", "model_attributes"),
        (),
        f"a result of ptyrad; {_TAKE}.",
    ),
)


def what_it_is(container: str, names: Collection[str]) -> str | None:
    """Tell what a file that is no scan is, and what to do; None where it is none of those that are known.

    Parameters
    ----------
    container
        Kind of file, such as ``"npz"``.
    names
        Names in it; of HDF5 it tells of any path whether it is there.
    """
    for one in _KNOWN:
        fits = one.container == container and all(key in names for key in one.has)
        if fits and not any(key in names for key in one.lacks):
            return one.sentence
    return None
