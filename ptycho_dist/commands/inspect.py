"""Say what a file or folder is, in words.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_dist.commands.inspect_scan import extent_lines, next_lines
from ptycho_dist.commands.inspect_unopened import (
    content_lines,
    draw_figure,
    read_product_or_none,
    unopened,
    write_figure,
    write_map,
)
from ptycho_dist.commands.path_checks import require_new_files, require_output_file
from ptycho_dist.commands.registry import REPLACES_FILE, Command, Typed, register_command
from ptycho_dist.commands.startup import make_request, required_path
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.errors import BundleError, DataFormatError
from ptycho_dist.job_marker import read_marker

if TYPE_CHECKING:
    from ptycho_dist.assembly.shards import Manifest
    from ptycho_dist.data.formats.product_h5 import Product
    from ptycho_dist.data.scan import Scan

_NAMED = 8

COMMAND = Command(
    name="inspect",
    summary="say what a file is, and what to run next",
    description="Say what a scan, product, bundle or any HDF5, NPZ or MATLAB file holds: sizes, units, what a reader "
    "converts, what is missing. --write_map drafts a map of an HDF5 file, --figure draws a scan.",
    example="ptycho-dist inspect scan.npz --figure scan.png",
    order=3,
    operand="file",
    operand_help="Scan, product, bundle folder, or any HDF5, NPZ or MATLAB file.",
    paths={"write_map": "Draft of a scan map to write (YAML), for an HDF5 file.", "figure": "Picture (PNG) to draw."},
    stages=(),
    sections={"data": DataConfig},
    main_flags=(
        "figure",
        "write_map",
        "file_format",
        "map",
        "positions_file",
        "probe",
        "pixel_size_m",
        "overwrite",
    ),
    replaces=REPLACES_FILE,
)


@register_command(COMMAND)
def inspect(typed: Typed) -> int:
    """Say what a file or folder is."""
    from ptycho_dist.factory.settings import reader_options

    path = required_path(typed, "file")
    options = reader_options(make_request(typed).levels({"data": DataConfig}))
    target, drawn = typed.paths.get("figure"), list[str]()
    if target is not None:
        require_output_file(target, (".png",))
        require_new_files([target], overwrite=typed.overwrite)

    def draw(scan: Scan) -> None:
        if target is not None:
            drawn.append(draw_figure(scan, target))

    sys.stdout.write(describe(path, options, draw))
    if "write_map" in typed.paths:
        sys.stdout.write(write_map(path, typed.paths["write_map"], overwrite=typed.overwrite))
    if target is not None:
        sys.stdout.write("".join(drawn) or write_figure(path, target, options))
    return 0


def describe(path: Path, options: ScanOptions | None = None, seen: Callable[[Scan], object] | None = None) -> str:
    """Describe a scan, product, bundle or shard folder: sizes, units, conversions, what to run next.

    Parameters
    ----------
    path
        A file, a set of scans, a bundle folder, the output folder of a training, a folder of shards, or that of an
        unfinished job.
    options
        How a scan is read.
    seen
        Called with a scan, while it is open.

    Raises
    ------
    DataFormatError
        If a file is neither a scan nor a product, or a set is not whole.
    BundleError
        If a folder is no bundle, or a damaged one.
    """
    from ptycho_dist.assembly.shards import is_shard_folder, read_manifest
    from ptycho_dist.data.set_index import is_set_folder

    marker = read_marker(path)
    if marker is not None:
        lines = _unfinished(path, marker)
    elif is_shard_folder(path):
        lines = _shards(path, read_manifest(path))
    elif is_set_folder(path):
        lines = _set(path)
    elif path.is_dir():
        lines = _bundle(_bundle_folder(path))
    else:
        lines = _file(path, options, seen)
    return "".join(f"{line}\n" for line in lines)


def _unfinished(path: Path, marker: dict[str, Any]) -> list[str]:
    places = [place.name for place in sorted(path.glob("checkpoints/step-*.ckpt"))]
    done = "finished" if marker["progress"].get("training") else f"{places[-1]}" if places else "no checkpoint yet"
    return [
        f"{path}: an unfinished '{marker['command']}', begun {marker.get('begun')}",
        f"  training     {done}",
        f"  shards       {len(list(path.glob('shards/shard-*.h5')))}",
        "next: start the same command again; it resumes. With --resume false it starts anew.",
    ]


def _shards(path: Path, manifest: Manifest) -> list[str]:
    from ptycho_dist.assembly.shards import shard_path

    height, width = manifest.canvas.shape
    there = sum(shard_path(path, rank, manifest.world).is_file() for rank in range(manifest.world))
    return [
        f"{path}: shards of a prediction of {manifest.facts['name']!r}",
        f"  shards       {there} of {manifest.world}",
        f"  patterns     {manifest.n_patterns} of {manifest.N} x {manifest.N} pixels",
        f"  object       {height} x {width} pixels, complex",
        f"next: ptycho-dist stitch {_shell(path)}",
    ]


def _set(path: Path) -> list[str]:
    from ptycho_dist.data.scan_set import read_source_header
    from ptycho_dist.data.set_index import read_index

    header, entries = read_source_header(path), read_index(path)
    counts = [entry.mean_counts for entry in entries]
    return [
        f"{path}: set of {len(entries)} scans",
        f"  patterns     {header.n_patterns} of {header.N} x {header.N} pixels",
        f"  mean counts  {min(counts):.4g} to {max(counts):.4g} photons in a pattern",
        f"  probe        {header.n_modes} mode(s) in each scan",
        f"  sha256       {header.checksum}",
        f"next: ptycho-dist train {_shell(path)} --output_dir {_shell(f'runs/{path.resolve().name}-net')} --devices 2",
    ]


def _file(path: Path, options: ScanOptions | None, seen: Callable[[Scan], object] | None) -> list[str]:
    from ptycho_dist.data.scan import open_looked_at

    try:
        opened = open_looked_at(path, options, unpack=True)
    except DataFormatError as not_a_scan:
        product = read_product_or_none(path)
        return unopened(path, not_a_scan) if product is None else _product(path, product)
    with opened as scan:
        if seen is not None:
            seen(scan)
        return _scan(scan)


def _scan(scan: Scan) -> list[str]:
    header, gain = scan.header, scan.gain()
    size = header.path.stat().st_size / 2**20
    stated = "" if header.nphotons is None else f" (the file states {header.nphotons:.4g})"
    modes = f"{header.n_modes} mode(s)" if header.n_modes else "none; one is made, from the mean pattern or --probe"
    within = "" if header.probe_mask_px is None else f", zero outside the {header.probe_mask_px} pixels of probe_mask"
    return [
        f"{header.path}: scan, format {header.format_name}, {size:.1f} MiB",
        f"  patterns     {header.n_patterns} of {header.N} x {header.N} pixels",
        f"  mean counts  {header.mean_counts:.4g} photons in a pattern{stated}",
        f"  probe        {modes}{within}",
        f"  pixel size   {_quantity(header.pixel_size_m, 'm', 'everything stays in pixels')}",
        f"  energy       {_quantity(header.energy_eV, 'eV')}{', of electrons' * scan.raw.is_electron}",
        f"  distance     {_quantity(header.detector_distance_m, 'm')}",
        f"  sha256       {header.checksum}",
        f"  photons      {gain.source}",
        *extent_lines(scan),
        *(f"  converted    {sentence}" for sentence in header.conversions),
        *(f"  {one.severity:<12} {one}" for one in scan.findings),
        *content_lines(header.path),
        *next_lines(header.path),
    ]


def _product(path: Path, product: Product) -> list[str]:
    height, width = product.object_.shape
    modes, side = product.probe.shape[0], product.probe.shape[-1]
    return [
        f"{path}: reconstruction product {product.metadata.name!r}",
        f"  object       {height} x {width} pixels, complex",
        f"  probe        {modes} mode(s) of {side} x {side} pixels",
        f"  positions    {len(product.positions_px)}",
        f"  pixel size   {_quantity(product.geometry.pixel_size_m, 'm', 'lengths are in pixels')}",
        f"  energy       {_quantity(product.metadata.probe_energy_eV, 'eV')}",
        f"  distance     {_quantity(product.metadata.detector_object_distance_m, 'm')}",
        f"  losses       {len(product.losses)}",
        f"next: ptycho-dist evaluate {_shell(path)}",
        f"  or: ptycho-dist refine SCAN --start {_shell(path)} --output_dir runs/refined",
    ]


def _bundle_folder(path: Path) -> Path:
    from ptycho_dist.bundle import find_bundle

    try:
        return find_bundle(path)
    except BundleError as error:
        held = ", ".join(sorted(one.name for one in path.iterdir())[:_NAMED]) or "nothing"
        msg = (
            f"{path} is a folder with {held}, and no bundle, set of scans, shards or unfinished job; expected one of "
            "these, or a file. Give the file in it that is meant."
        )
        raise BundleError(msg) from error


def _bundle(path: Path) -> list[str]:
    from ptycho_dist.bundle import read_bundle_info

    info = read_bundle_info(path)
    settings = [
        f"  {section:<12} " + ", ".join(f"{name} = {value}" for name, value in info.payload_dict[section].items())
        for section in ("data", "model", "training")
        if section in info.payload_dict
    ]
    return [
        f"{path}: model bundle, written by ptycho-dist {info.package_version}",
        *settings,
        f"  weights      sha256 {info.weights_checksum}",
        f"next: ptycho-dist infer SCAN --model_path {_shell(path)} --output_dir runs/next",
    ]


def _shell(path: Path | str) -> str:
    """Path as one word of a shell."""
    return shlex.quote(str(path))


def _quantity(value: float, unit: str, consequence: str = "") -> str:
    if math.isfinite(value):
        return f"{value:.6g} {unit}"
    return f"unknown ({consequence})" if consequence else "unknown"
