"""
Few photons
===========

With 1,000 photons in a frame, iterations fit the noise. ``regularisation`` adds passes whose object has little
detail; with ``"auto"`` their weight is found by holding photons back, which takes longer than the fixed one that is
used here. The start is the network that ships with the package; nothing is trained.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ptycho_dist as ptd

folder = Path(tempfile.mkdtemp())

# %%
# The scan, and what the network that ships makes of it.

scan = ptd.simulate_scan(folder / "scan.h5", n_patterns=60, N=64, step_px=6.0, photons=1e3)
network = ptd.infer(scan, output_dir=folder / "network", devices=1)

# %%
# Refined from there, without and with regularisation.

plain = ptd.refine_object(scan, start=network, output_dir=folder / "plain", devices=1)
smooth = ptd.refine_object(scan, start=network, output_dir=folder / "smooth", regularisation=1.0, devices=1)
results = {"network": network, "refined": plain, "regularised": smooth}
for name, result in results.items():
    print(f"{name}: phase SSIM {result.metrics['ssim_phase']:.3f}")

# %%
# One pattern has a count in few of its pixels; all of them together hold an object.

figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.4), layout="constrained")
axes[0].imshow(scan.counts(30), cmap="magma")
axes[0].set_title(f"one pattern, {scan.counts(30).sum():.0f} photons")
for axis, (name, result) in zip(axes[1:], results.items(), strict=True):
    inner = result.object_[30:-30, 30:-30]
    axis.imshow(np.angle(inner * np.exp(-1j * np.angle(inner.mean()))), cmap="viridis", vmin=-0.9, vmax=0.9)
    axis.set_title(f"{name}: SSIM {result.metrics['ssim_phase']:.2f}")
for axis in axes:
    axis.set_axis_off()
