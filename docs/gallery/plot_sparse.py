"""
A sparse scan
=============

Wide steps save dose and time, and leave little overlap to hold the object together. Here a network that is trained on
the scan itself gives the refinement its start; beside it is the refinement from an object of ones.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ptycho_dist as ptd

folder = Path(tempfile.mkdtemp())

# %%
# 100 patterns, 9 pixels apart. The scan holds its object, so both results are judged by it.

scan = ptd.simulate_scan(folder / "scan.h5", n_patterns=100, N=64, step_px=9.0)

# %%
# Fifteen epochs keep this page short. Left alone, a training ends when more of it does not pay.

with_network = ptd.reconstruct(scan, output_dir=folder / "network", max_epochs=15, start_from="network", devices=1)
without = ptd.refine_object(scan, output_dir=folder / "ones", start_from="ones", devices=1)
for name, result in (("with a network", with_network), ("without", without)):
    told = result.metrics
    print(f"{name}: phase SSIM {told['ssim_phase']:.3f}, Fourier error {told['fourier_error']:.4f}")

# %%
# A look at the middle of both.

figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.2), layout="constrained")
for axis, (name, result) in zip(axes, (("with a network", with_network), ("without", without)), strict=True):
    inner = result.object_[40:-40, 40:-40]
    axis.imshow(np.angle(inner * np.exp(-1j * np.angle(inner.mean()))), cmap="viridis", vmin=-0.9, vmax=0.9)
    axis.set_title(f"{name}: SSIM {result.metrics['ssim_phase']:.2f}")
    axis.set_axis_off()
