"""From a :class:`~.measurement.Measurement` to a scan: dead pixels, dark and flat, crop, bins, units, and checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.base import BoolArray, ComplexArray, PatternSource, RawScan
from ptycho_dist.data.formats.corrections import with_given_corrections
from ptycho_dist.data.formats.frame_work import FrameWork, PreparedFrames, Window
from ptycho_dist.data.formats.intensity import Kind, find_kind
from ptycho_dist.data.formats.measurement import ELECTRON, METRES, PIXELS, XRAY, Geometry, Measurement, Positions
from ptycho_dist.data.formats.object_pixel import corners_px, pixel_size, require_known, with_options
from ptycho_dist.data.formats.sampled_pixels import look, window_of
from ptycho_dist.errors import DataFormatError


def raw_scan_of(path: Path, measurement: Measurement, options: ScanOptions) -> RawScan:
    """Make a scan of what a file says of a measurement.

    Parameters
    ----------
    path
        The file, for messages.
    measurement
        What its reader or map found.
    options
        What the user says.

    Returns
    -------
    RawScan
        Square frames, which are made of the file's when they are read; corners in object pixels; what was done, with
        numbers, in ``conversions``.

    Raises
    ------
    DataFormatError
        If positions and frames differ in number, a number cannot be so (energy, distance, steps, counts below zero),
        or the object pixel is needed and not known.
    """
    _require_lengths(path, measurement)
    measurement = with_given_corrections(measurement, options)
    _require_unit_unsaid(path, measurement, options)
    geometry, unused = with_options(path, measurement.geometry, options)
    source, said = measurement.frames, [*measurement.conversions, *unused]
    work, square, found = _work(path, measurement, options, said)
    side, new_side = min(source.shape[1:]), work.window.side
    dx, how = pixel_size(path, geometry, side, new_side, options)
    if measurement.positions.unit == METRES:
        require_known(path, geometry, dx)
    said += [how] if how else []
    mask = _mask(path, work)
    keeps_object = new_side == side and work.binning == 1
    N = new_side // work.binning
    return RawScan(
        format_name=measurement.format_name,
        patterns=source if work.is_nothing() else PreparedFrames(source, work),
        fftshift=False,
        square=square and not work.square,
        positions_px=corners_px(path, measurement.positions, dx, (side, new_side), N),
        probe=_probe(path, measurement, (side, new_side), work.binning, said),
        mask=mask,
        object_source=measurement.object_source if keeps_object else None,
        object_origin_px=measurement.object_origin_px if keeps_object else None,
        nphotons=measurement.nphotons,
        conversions=tuple(said),
        companions=measurement.companions,
        detector=work,
        is_electron=geometry.radiation == ELECTRON,
        left_out=_left_out(work, found),
        frame_key=repr((work.window, work.binning, work.turn, work.is_corner, _digest(measurement))),
        pixel_size_m=dx,
        energy_eV=geometry.energy_eV,
        detector_distance_m=geometry.detector_distance_m,
    )


def reframed(path: Path, raw: RawScan, options: ScanOptions) -> RawScan:
    """Crop, bin and mask the square frames of a scan in object pixels as the user says; see :func:`raw_scan_of`."""
    mask = raw.mask
    found = Measurement(
        format_name=raw.format_name,
        frames=raw.patterns,
        positions=Positions(values=raw.positions_px, unit=PIXELS),
        geometry=Geometry(
            radiation=ELECTRON if raw.is_electron else XRAY,
            energy_eV=raw.energy_eV,
            detector_distance_m=raw.detector_distance_m,
            pixel_size_m=raw.pixel_size_m,
        ),
        kind="amplitude" if raw.square else "counts",
        is_corner=raw.fftshift,
        mask=np.fft.ifftshift(mask) if mask is not None and raw.fftshift else mask,
        probe=raw.probe,
        object_source=raw.object_source,
        object_origin_px=raw.object_origin_px,
        nphotons=raw.nphotons,
        companions=raw.companions,
        conversions=raw.conversions,
    )
    return raw_scan_of(path, found, options)


def grown(path: Path, known: RawScan, frames: PatternSource, positions: Positions) -> RawScan:
    """Give a scan that is still measured its present frames, made as those that were there when it was opened first.

    Parameters
    ----------
    path
        The file, for messages.
    known
        The scan as :func:`raw_scan_of` or :func:`reframed` made it.
    frames, positions
        What its file holds now.
    """
    work = known.detector
    if not isinstance(work, FrameWork):
        return replace(known, patterns=frames, positions_px=positions.values)
    new_side = work.window.side
    sides, N = (min(frames.shape[1:]), new_side), new_side // work.binning
    return replace(
        known,
        patterns=frames if work.is_nothing() else PreparedFrames(frames, work),
        positions_px=corners_px(path, positions, known.pixel_size_m, sides, N, is_part=True),
    )


def _work(
    path: Path, measurement: Measurement, options: ScanOptions, said: list[str]
) -> tuple[FrameWork, bool, tuple[tuple[str, BoolArray], ...]]:
    """Settle what is done to each frame, whether the file has amplitudes, and which pixels were found to be bad.

    What is done is added to ``said``.
    """
    pixels = look(path, measurement, options)
    window, binning, cut = window_of(measurement, pixels, options)
    kind = _kind(measurement, pixels.valid, options)
    said += (*pixels.said, *cut, *_work_in_words(measurement, kind))
    work = FrameWork(
        is_corner=measurement.is_corner,
        valid=pixels.valid,
        correction=measurement.correction,
        square=kind.square and (binning > 1 or bool(measurement.correction)),
        window=window,
        binning=binning,
        turn=measurement.turn,
        dead_values=measurement.dead_values,
    )
    return work, kind.square, pixels.found


def _left_out(work: FrameWork, found: tuple[tuple[str, BoolArray], ...]) -> tuple[tuple[str, BoolArray], ...]:
    """Pixels of the frames that are made (N, N) which were found to be bad, or lie beyond the detector."""
    whole = work.place(np.ones(work.shape, np.bool_))
    parts = [(name, whole & ~work.place(~bad)) for name, bad in found]
    parts += [] if whole.all() else [("beyond the detector", ~whole)]
    return tuple((name, bad) for name, bad in parts if bad.any())


def _require_unit_unsaid(path: Path, measurement: Measurement, options: ScanOptions) -> None:
    if options.position_unit != "px":
        msg = (
            f"data.position_unit = {options.position_unit!r}, but {measurement.format_name} knows the unit in {path}; "
        )
        raise DataFormatError(msg + "expected px. Leave it out, or name the unit in a map (positions: unit:).")


def _mask(path: Path, work: FrameWork) -> BoolArray | None:
    mask = work.mask()
    if not mask.any():
        msg = f"no detector pixel in {path} is valid; expected some. Check the mask and its polarity, and the flat."
        raise DataFormatError(msg)
    return None if mask.all() else mask


def _digest(measurement: Measurement) -> str:
    """Name the corrections by their content."""
    correction = measurement.correction
    parts = [one for one in (correction.dark, correction.flat, correction.scale) if one is not None]
    return ",".join(f"{float(np.sum(part * np.arange(1, part.size + 1).reshape(part.shape))):.17g}" for part in parts)


def _require_lengths(path: Path, measurement: Measurement) -> None:
    n_frames, values = measurement.frames.shape[0], measurement.positions.values
    if len(values) != n_frames:
        msg = (
            f"{path} holds {n_frames} frames and {len(values)} positions; expected one position for each frame. Where "
            "the file says how they belong together, name it in a map (positions: join: index or trigger); else export "
            "them again, or leave frames out (frames: select)."
        )
        raise DataFormatError(msg)
    checks.checked_positions(path, values, n_frames)


def _kind(measurement: Measurement, valid: BoolArray, options: ScanOptions) -> Kind:
    """Tell counts from amplitudes, as the user says, as the file's format has it, or by the values."""
    if options.intensity_kind == "auto" and measurement.kind != "auto":
        square = measurement.kind == "amplitude"
        return Kind(square, "amplitudes, squared to counts" if square else "counts")
    return find_kind(_Valid(measurement.frames, valid, is_corner=measurement.is_corner), options)


class _Valid:
    """Frames whose masked pixels are zero, to judge their values."""

    def __init__(self, source: PatternSource, valid: BoolArray, *, is_corner: bool) -> None:
        self._source, self._valid = source, np.fft.ifftshift(valid) if is_corner else valid
        self.shape, self.unwritten, self.close = source.shape, source.unwritten, source.close

    def read(self, index: np.ndarray) -> np.ndarray:
        values = self._source.read(index)
        return np.where(self._valid, values, np.zeros((), values.dtype))


def _work_in_words(measurement: Measurement, kind: Kind) -> list[str]:
    correction, words = measurement.correction, []
    if kind.square or measurement.kind == "auto":
        words.append(f"patterns: {kind.reason}")
    if measurement.is_corner:
        words.append("patterns: zero frequency moved from the corner to the centre (fftshift)")
    for name, said in (("dark", "dark subtracted"), ("flat", "divided by the flat"), ("scale", "scaled by a monitor")):
        if getattr(correction, name) is not None:
            words.append(f"patterns: {said}")
    turn = measurement.turn
    turned = [name for name in ("transpose", "flip_rows", "flip_columns") if getattr(turn, name)]
    return [*words, f"patterns: turned ({', '.join(turned)})"] if turned else words


def _probe(
    path: Path, measurement: Measurement, sides: tuple[int, int], binning: int, said: list[str]
) -> ComplexArray | None:
    """Return the probe in the pixels of the frames that are used.

    A crop of the detector keeps the field of view and changes the pixel: the far field is cropped alike. A bin keeps
    the pixel and narrows the field of view.
    """
    if measurement.probe is None:
        return None
    side, new_side = sides
    probe = checks.checked_probe(path, "probe", measurement.probe)
    if probe.shape[-1] != side:
        probe = checks.embed_probe(path, probe, side)[0]
    if new_side != side:
        far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
        top = side // 2 - new_side // 2
        far = Window(top, top, new_side).cut(far)
        probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(far, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
        said.append(f"probe: far field {'cropped' if new_side < side else 'padded'} to {new_side} px a side")
    if binning > 1:
        top = new_side // 2 - new_side // binning // 2
        probe = Window(top, top, new_side // binning).cut(probe)
        said.append(f"probe: middle {probe.shape[-1]} px a side")
    return probe.astype(np.complex64)
