"""
Siemens star
============

An object of one's own: a Siemens star is drawn as an array, its diffraction patterns are computed and written as a
scan, and the scan is refined from an object of ones.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ptycho_dist as ptd

folder = Path(tempfile.mkdtemp())

# %%
# A star of 36 spokes, 1 rad thick, that absorbs a little; and the probe of a simulated zone plate.

zone_plate = ptd.simulate_scan(folder / "zone_plate.h5", n_patterns=260, N=64, step_px=6.0, photons=1e5)
probe, corners_px = zone_plate.probe[0], np.round(zone_plate.positions_px - zone_plate.positions_px.min(axis=0))
side = int(corners_px.max()) + 64
y, x = np.mgrid[:side, :side] - side / 2
spokes = (np.sin(36 * np.arctan2(y, x)) > 0) & (np.hypot(y, x) < 0.36 * side) & (np.hypot(y, x) > 6)
star = np.where(spokes, 0.9 * np.exp(1j), 1.0)

# %%
# A far field is the Fourier transform of probe times patch; counts are its squares, with the noise of photons.

rng = np.random.default_rng(1)
patches = np.stack([star[row : row + 64, column : column + 64] for row, column in corners_px.astype(int)])
waves = np.fft.fft2(np.fft.ifftshift(probe * patches, axes=(1, 2)), norm="ortho")
counts = rng.poisson(np.fft.fftshift(np.abs(waves) ** 2, axes=(1, 2)))
scan = ptd.write_scan(folder / "star.h5", counts, corners_px, probe, pixel_size_m=20e-9)
print(scan)

# %%
# Forty passes over the patterns.

result = ptd.refine_object(scan, output_dir=folder / "refined", iterations=40, devices=1)
print(f"Fourier error {result.metrics['fourier_error']:.4f}, {len(result.losses)} iterations")

# %%
# The phase of an object is known up to a constant; here that of the middle of the star is set to zero.

middle = result.object_[side // 2 - 3 : side // 2 + 3, side // 2 - 3 : side // 2 + 3].mean()
phase = np.angle(result.object_ * np.exp(-1j * np.angle(middle)))
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained")
axes[0].imshow(np.log1p(counts[100]), cmap="magma")
axes[0].set_title("one pattern, log of counts")
axes[1].imshow(np.abs(result.probe[0]), cmap="magma")
axes[1].set_title("probe, amplitude")
drawn = axes[2].imshow(phase, cmap="viridis", vmin=-0.2, vmax=1.2)
axes[2].set_title("object, phase in rad")
figure.colorbar(drawn, ax=axes[2])
for axis in axes:
    axis.set_axis_off()
