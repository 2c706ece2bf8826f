"""What a supervised network learns: the part of a stored object that a pattern shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.intensity import sample_index
from ptycho_dist.data.formats.product import scan_checksum
from ptycho_dist.data.formats.product_h5 import read_product_metadata
from ptycho_dist.data.scan import Scan, require_made_from
from ptycho_dist.data.stored_object import read_stored_object
from ptycho_dist.errors import DataFormatError
from ptycho_dist.physics.epie_step import centre
from ptycho_dist.physics.patches import PatchGeometry
from ptycho_dist.types import FloatArray


@dataclass(frozen=True)
class Labels:
    """A stored object that patches are cut from.

    Parameters
    ----------
    object_HW : Tensor, complex64, shape (H, W)
        The object.
    origin_px : ndarray, float64, shape (2,)
        Position (y, x) of its pixel (0, 0).
    N, output_px
        Side of a pattern, and of the patch in its middle that the network predicts.
    """

    object_HW: Tensor
    origin_px: FloatArray
    N: int
    output_px: int

    def patches(self, positions_px: FloatArray) -> Complex[Tensor, "B n n"]:
        """Cut the patches of patterns whose frames have these corners (B, 2), by bilinear interpolation."""
        corners = torch.from_numpy(positions_px - self.origin_px + (self.N - self.output_px) / 2)
        rows, columns = self.object_HW.shape
        return PatchGeometry.build(corners, self.output_px, (rows, columns)).gather(self.object_HW)

    def require_all(self, positions_px: FloatArray, source: Path) -> None:
        """Check that the object covers what all patterns predict.

        Raises
        ------
        DataFormatError
            If it does not.
        """
        low = positions_px - self.origin_px + (self.N - self.output_px) / 2
        outside = (low < 0) | (np.floor(low) + self.output_px + (low % 1 > 0) > self.object_HW.shape)
        short = np.asarray(outside.any(axis=1))
        if short.any():
            msg = (
                f"the object of {source} {tuple(self.object_HW.shape)} does not cover the patches of {short.sum()} of "
                f"{len(short)} patterns; expected it to. Give an object of the whole scan as training.label_file."
            )
            raise DataFormatError(msg)


def read_labels(scan: Scan, path: Path | None, output_px: int) -> Labels:
    """Read the object to learn from: a file's if given, else the scan's own.

    Its amplitude is brought to the scale of the model, in which the supplied probe, scaled to the mean counts,
    explains them on average: an object that absorbs has a brighter probe in its file than there.

    Parameters
    ----------
    scan
        Scan whose patterns are trained on.
    path
        Product, or NPZ with a complex ``object`` (H, W); of an NPZ the corner lies near the smallest position.
    output_px
        Side of the patches.

    Raises
    ------
    DataFormatError
        If there is no object, it is not finite, does not cover the patches, or was made from another scan.
    """
    if path is not None and path.suffix != ".npz":
        fix = "Give a product of this scan as training.label_file, or an NPZ with an object that fits it."
        require_made_from(scan.header, str(path), scan_checksum(read_product_metadata(path)), fix)
    object_, origin = _own(scan) if path is None else read_stored_object(path, scan.positions_px)
    source = path or scan.header.path
    if not np.isfinite(object_).all():
        msg = f"the object of {source} holds NaN or infinite values; expected finite ones. Give a whole object."
        raise DataFormatError(msg)
    labels = Labels(torch.from_numpy(object_.astype(np.complex64)), origin, scan.header.N, output_px)
    labels.require_all(scan.positions_px, source)
    return replace(labels, object_HW=labels.object_HW / _transmission(scan, labels))


def _transmission(scan: Scan, labels: Labels) -> float:
    """Root of the share of the probe's light that the object lets through, over some evenly spaced patterns.

    Raises
    ------
    DataFormatError
        If the object lets none through, or the scan has no probe.
    """
    patches = labels.patches(scan.positions_px[sample_index(scan.header.n_patterns)])
    through = 0.0
    if scan.probe is not None:
        light = centre(torch.from_numpy(scan.probe), labels.output_px).abs().square().sum(dim=0)
        through = float((light * patches.abs().square()).sum() / (light.sum() * len(patches)))
    if not through > 0:
        msg = f"the object to learn from lets no light of the probe in {scan.header.path} through; expected some."
        raise DataFormatError(msg)
    return math.sqrt(through)


def _own(scan: Scan) -> tuple[ComplexArray, FloatArray]:
    object_, origin = scan.object_, scan.object_origin_px
    if object_ is None or origin is None:
        msg = (
            f"{scan.header.path} holds no object to learn from; expected one with training.mode = supervised or mixed. "
            "Give a product or an NPZ as training.label_file, or train unsupervised."
        )
        raise DataFormatError(msg)
    return object_, origin
