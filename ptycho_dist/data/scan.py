"""A scan, whatever its file format: header, positions, probe, and patterns by row."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_dist.config.scan_options import AUTO
from ptycho_dist.data.adjust import SelectedRows, adjust, kept_rows, select
from ptycho_dist.data.content import FileState, checksum, file_state, sample_checksum
from ptycho_dist.data.formats.base import BoolArray, ComplexArray, RawScan, ScanOptions
from ptycho_dist.data.formats.intensity import read_counts, read_numbers, sample_index
from ptycho_dist.data.formats.registry import open_raw
from ptycho_dist.data.scan_html import ShownInNotebooks
from ptycho_dist.data.survey.cache import keep, load, name_of
from ptycho_dist.data.survey.collect import Survey, as_measured, as_stored, of_rows, survey_rows, take_sample
from ptycho_dist.data.survey.findings import Finding, Place, bad_frames, bad_pixels, find, settled
from ptycho_dist.data.survey.gain import Gain, gain_of
from ptycho_dist.errors import DataFormatError
from ptycho_dist.physics.sampling import probe_diameter
from ptycho_dist.types import Canvas, FloatArray, IntArray, ScanHeader, Shard

__all__ = ["Scan", "ScanOptions", "open_scan", "read_header", "require_made_from"]


class Scan(ShownInNotebooks):
    """An open scan; can be pickled.

    Pattern rows are opened lazily. HDF5 handles belong to one process: a forked or unpickled
    scan opens its own. Memory mappings of NPZ members are read-only and may be inherited.

    Parameters
    ----------
    header
        What is known without reading patterns.
    raw
        What the format's reader found.
    options
        How it was opened.
    state
        What tells without reading whether its files were changed; that of now where not given.
    survey
        What a look at all its patterns found; None where they were not looked at.
    """

    def __init__(
        self,
        header: ScanHeader,
        raw: RawScan,
        options: ScanOptions,
        state: FileState | None = None,
        survey: Survey | None = None,
    ) -> None:
        self.header, self.options, self.survey = header, options, survey
        self._raw = raw
        self._state = file_state(header.path, raw.companions) if state is None else state

    def __len__(self) -> int:
        return self.header.n_patterns

    def __repr__(self) -> str:
        header = self.header
        size = f", {header.pixel_size_m * 1e9:.4g} nm per object pixel" if header.units_known else ""
        return (
            f"<Scan {header.path} ({header.format_name}): {header.n_patterns} patterns of {header.N} x {header.N}, "
            f"{header.mean_counts:.4g} counts each, {header.n_modes} probe modes{size}>"
        )

    @property
    def raw(self) -> RawScan:
        """What its reader found, adjusted as its options say."""
        return self._raw

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong or odd in it, the worst first; empty where it was not looked at."""
        if self.survey is None:
            return ()
        place = Place(self.positions_px, self.probe, self.mask, self.file_numbers)
        return settled(find(self.survey, place), self.options)

    @cached_property
    def probe_diameter_px(self) -> float:
        """Diameter of the probe, as :func:`~ptycho_dist.physics.sampling.probe_diameter` has it; 0 without one."""
        return 0.0 if self.probe is None else probe_diameter(self.probe)

    def gain(self) -> Gain:
        """Tell the counts per photon, and how they are known; read up to 64 patterns where it was not looked at."""
        told = self.survey or take_sample(self.header.path, self._raw)
        return gain_of(self.options, told.whole, told.step, told.noise_gain)

    @property
    def file_numbers(self) -> IntArray:
        """Number in the file of each pattern, int64, shape (B,): what ``drop_frames`` takes."""
        patterns = self._raw.patterns
        return patterns.rows if isinstance(patterns, SelectedRows) else np.arange(len(self))

    @property
    def companions(self) -> tuple[Path, ...]:
        """Other files that hold patterns of this scan."""
        return self._raw.companions

    @property
    def positions_px(self) -> FloatArray:
        """Patch corners (y, x) in object pixels, float64, shape (B, 2)."""
        return self._raw.positions_px

    @property
    def probe(self) -> ComplexArray | None:
        """Supplied probe modes in the scale of the file, complex64, shape (P, N, N)."""
        return self._raw.probe

    @property
    def mask(self) -> BoolArray | None:
        """Valid detector pixels, bool, shape (N, N); None where all are."""
        return self._raw.mask

    @property
    def probe_mask(self) -> BoolArray | None:
        """Where the probe may differ from zero, bool, shape (N, N); None where the file does not say."""
        return self._raw.probe_mask

    @property
    def object_(self) -> ComplexArray | None:
        """Object supplied for evaluation, complex64, shape (H, W); read from the file at each access."""
        return None if self._raw.object_source is None else self._raw.object_source.load()

    @property
    def object_origin_px(self) -> FloatArray | None:
        """Position of pixel (0, 0) of the object: ``positions_px - object_origin_px`` indexes it."""
        return self._raw.object_origin_px

    def read_patterns(self, index: IntArray) -> NDArray[np.float32]:
        """Read some patterns, and only those.

        Parameters
        ----------
        index
            Pattern numbers, int64, shape (n,); any order, repeats allowed.

        Returns
        -------
        ndarray, float32, shape (n, N, N)
            Photon counts, DC at the centre; masked pixels are 0.

        Raises
        ------
        DataFormatError
            If a valid pixel is NaN, infinite, negative, or an integer overflow value.
        """
        return self.read_numbers(index).astype(np.float32, copy=False)

    def read_numbers(self, index: IntArray) -> NDArray[Any]:
        """Read some patterns as :meth:`read_patterns` does, but leave integers of up to 2 bytes as they are.

        Returns
        -------
        ndarray, uint8, int8, uint16, int16 or float32, shape (n, N, N)
            Photon counts, DC at the centre; masked pixels are 0.
        """
        rows = np.asarray(index, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.header.n_patterns):
            span, held = f"{rows.min()} to {rows.max()}", self.header.n_patterns
            msg = f"pattern numbers {span} asked of {self.header.path}; expected 0 to {held - 1}"
            raise IndexError(msg)
        return read_numbers(self.header.path, self._raw, rows)

    def counts(self, rows: slice | ArrayLike = slice(None)) -> NDArray[np.float32]:  # immutable
        """Read the counts of some patterns, and only those; see :meth:`read_patterns`.

        Parameters
        ----------
        rows
            A slice, a pattern number, or a list of them; negative ones count from the end. All where not given.

        Returns
        -------
        ndarray, float32, shape (n, N, N)
            For a single number, shape (N, N).
        """
        chosen = np.arange(len(self))[rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)]
        patterns = self.read_patterns(np.atleast_1d(chosen))
        return patterns if np.ndim(chosen) else patterns[0]

    @property
    def state(self) -> FileState:
        """What tells without reading whether its files were changed."""
        return self._state

    @property
    def n_bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in (self.header.path, *self.companions))

    def sample_checksum(self) -> str:
        """SHA-256 (hex) of 32 small blocks of its files: what every rank can afford to compare."""
        return sample_checksum((self.header.path, *self.companions))

    def require_unchanged(self) -> None:
        """Refuse files that were replaced or written to since they were opened.

        They are read again only where size, inode or time of modification differ.

        Raises
        ------
        DataFormatError
            Naming both checksums, or the file that is gone.
        """
        path = self.header.path
        try:
            state = file_state(path, self.companions)
            found = self.header.checksum if state == self._state else checksum(path, self.companions)
        except FileNotFoundError as error:
            msg = f"{error.filename} is gone since it was opened; expected it to stay. Put it back, and start again."
            raise DataFormatError(msg) from error
        if found != self.header.checksum:
            msg = (
                f"{path} has SHA-256 {found}, but had {self.header.checksum} when it was opened; expected the scan to "
                "stay as it is, for results may now be of both. Put it back, and start anew with --resume false."
            )
            raise DataFormatError(msg)
        self._state = state

    def close(self) -> None:
        """Release file handles and mappings of this process."""
        self._raw.patterns.close()

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def open_scan(
    path: Path | str, options: ScanOptions | None = None, *, known_checksum: str | None = None, unpack: bool = False
) -> Scan:
    """Open a scan file of any known format.

    Parameters
    ----------
    path
        The file.
    options
        What the file leaves open.
    known_checksum
        Its checksum, where that is known; then the file is not read for it.
    unpack
        Whether a compressed archive may be unpacked, however large it is then.

    Raises
    ------
    DataFormatError
        If the file is not a whole scan of a known format, or contradicts the options.
    """
    base = open_unselected(path, options, known_checksum=known_checksum, unpack=unpack)
    return select_rows(base, survey_of(base) if needs_survey(base.options) else None)


def open_looked_at(path: Path | str, options: ScanOptions | None = None, *, unpack: bool = False) -> Scan:
    """Open a scan as :func:`open_scan` does, and look at all its patterns, in this process."""
    base = open_unselected(path, options, unpack=unpack)
    return select_rows(base, survey_of(base))


def open_unselected(
    path: Path | str, options: ScanOptions | None = None, *, known_checksum: str | None = None, unpack: bool = False
) -> Scan:
    """Open a scan with all its patterns and pixels, whatever the options leave out; see :func:`open_scan`."""
    options = options or ScanOptions()
    path = Path(path)
    raw = adjust(path, open_raw(path, options, unpack=unpack), options)
    state = file_state(path, raw.companions)
    return Scan(_header(path, raw, options, known_checksum), raw, options, state)


def needs_survey(options: ScanOptions) -> bool:
    """Tell whether what is left out depends on a look at all patterns."""
    return options.mask_saturated is True or options.drop_frames == AUTO


def survey_of(scan: Scan) -> Survey:
    """Look at all patterns of a scan in this process, unless a look at the same content was kept."""
    name, path, raw = name_of(scan.header.checksum, scan.raw), scan.header.path, scan.raw
    found = load(name)
    if found is None:
        whole = Shard(0, 1, 0, len(scan))
        found = as_measured(survey_rows(path, as_stored(raw), whole, take_sample(path, raw)), raw)
        keep(name, found)
    return found


def select_rows(base: Scan, survey: Survey | None) -> Scan:
    """Leave out the patterns and pixels that the options name; with a survey the scan counts as looked at.

    Parameters
    ----------
    base
        The scan, of :func:`open_unselected`.
    survey
        What was found in its patterns; needed where :func:`needs_survey` says so.

    Raises
    ------
    DataFormatError
        If nothing is left.
    """
    path, options, raw = base.header.path, base.options, base.raw
    found = np.empty(0, np.int64) if survey is None else bad_frames(survey)
    rows = kept_rows(path, len(base), options, found)
    N = base.header.N
    bad = bad_pixels(survey) if survey is not None and options.mask_saturated else np.zeros((N, N), np.bool_)
    chosen = select(raw, rows, bad)
    kept = None if survey is None else of_rows(survey, rows)
    if chosen.patterns is raw.patterns and chosen.mask is raw.mask:
        return Scan(base.header, raw, options, base.state, kept)
    return Scan(_header(path, chosen, options, base.header.checksum), chosen, options, base.state, kept)


def read_header(path: Path | str, options: ScanOptions | None = None) -> ScanHeader:
    """Return what is known of a scan file before its patterns are read; see :func:`open_scan`."""
    with open_scan(path, options) as scan:
        return scan.header


def _header(path: Path, raw: RawScan, options: ScanOptions, known_checksum: str | None) -> ScanHeader:
    n_patterns, N, _ = raw.patterns.shape
    units: dict[str, Any] = {
        name: _agreed(path, name, getattr(raw, name), getattr(options, name))
        for name in ("pixel_size_m", "energy_eV", "detector_distance_m")
    }
    return ScanHeader(
        path=path,
        format_name=raw.format_name,
        n_patterns=n_patterns,
        N=N,
        n_modes=0 if raw.probe is None else len(raw.probe),
        mean_counts=_mean_counts(path, raw),
        nphotons=raw.nphotons,
        probe_mask_px=None if raw.probe_mask is None else int(raw.probe_mask.sum()),
        canvas_px=math.prod(Canvas.around(raw.positions_px, N).shape),
        checksum=known_checksum or checksum(path, raw.companions),
        conversions=raw.conversions,
        units_known=math.isfinite(units["pixel_size_m"]),
        **units,
    )


def _agreed(path: Path, name: str, in_file: float, given: float | None) -> float:
    if given is None:
        return in_file
    if math.isfinite(in_file) and not math.isclose(in_file, given, rel_tol=1e-6):
        msg = f"{path} says {name} = {in_file}, but data.{name} = {given}; expected one value. Leave data.{name} unset."
        raise DataFormatError(msg)
    return given


def _mean_counts(path: Path, raw: RawScan) -> float:
    if raw.mean_counts is not None:
        return raw.mean_counts
    index = sample_index(raw.patterns.shape[0])
    sums = [float(read_counts(path, raw, index[i : i + 1]).sum(dtype=np.float64)) for i in range(len(index))]
    mean = sum(sums) / len(sums)
    if mean == 0:
        msg = f"{len(sums)} sampled patterns in {path} are zero everywhere; expected photon counts. Check the export."
        raise DataFormatError(msg)
    return mean


def require_made_from(header: ScanHeader, what: str, made_from: str, fix: str) -> None:
    """Refuse a scan whose content is not that from which something was made.

    Parameters
    ----------
    header
        The scan at hand.
    what
        What was made, for the message.
    made_from
        Checksum of the scan that it was made from; empty where that is not known.
    fix
        What to do instead.

    Raises
    ------
    DataFormatError
        Naming both checksums.
    """
    if made_from not in ("", header.checksum):
        msg = (
            f"{what} was made from a scan of SHA-256 {made_from}, but {header.path} has {header.checksum}; expected "
            f"the same scan. {fix}"
        )
        raise DataFormatError(msg)
