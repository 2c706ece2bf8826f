"""
Several probe modes
===================

A beam that is only partly coherent is a sum of modes whose intensities add. One mode explains such patterns badly;
three find object and beam.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ptycho_dist as ptd

folder = Path(tempfile.mkdtemp())

# %%
# A scan with three modes; each has a tenth of the power of the one before. The file that is refined supplies the first.

source = ptd.simulate_scan(folder / "source.h5", n_patterns=120, N=64, step_px=5.0, n_modes=3, photons=1e6)
scan = ptd.write_scan(folder / "scan.h5", source.counts(), source.positions_px, source.probe[0], pixel_size_m=20e-9)

# %%
# Refined with one mode, and with three.

results = {
    count: ptd.refine_object(scan, output_dir=folder / f"modes_{count}", n_modes=count, iterations=20, devices=1)
    for count in (1, 3)
}
for count, result in results.items():
    powers = (np.abs(result.probe) ** 2).sum(axis=(1, 2))
    shares = ", ".join(f"{100 * share:.1f} %" for share in powers / powers.sum())
    print(f"{count} mode(s): Fourier error {result.metrics['fourier_error']:.4f}, powers {shares}")

# %%
# The object with one mode carries what the beam did; the three modes on the right are orthogonal, the strongest first.

figure, axes = plt.subplots(1, 5, figsize=(12.5, 2.7), layout="constrained")
for axis, (count, result) in zip(axes, results.items(), strict=False):
    phase = np.angle(result.object_ * np.exp(-1j * np.angle(result.object_.mean())))
    axis.imshow(phase, cmap="viridis", vmin=-1, vmax=1)
    axis.set_title(f"phase, {count} mode(s)")
for number, (axis, mode) in enumerate(zip(axes[2:], results[3].probe, strict=True), start=1):
    axis.imshow(np.abs(mode), cmap="magma")
    axis.set_title(f"mode {number}, amplitude")
for axis in axes:
    axis.set_axis_off()
