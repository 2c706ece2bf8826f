"""
Near field
==========

Close behind the object a pattern is a hologram, not a Fourier transform. Here the light of 8 keV goes on for 2 mm;
the settings of the refinement say so, and the geometry is in the scan.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ptycho_dist as ptd

folder = Path(tempfile.mkdtemp())
N, pixel_m, energy_eV, distance_m = 64, 1e-7, 8000.0, 2e-3

# %%
# The object is that of a simulated scan, the beam a wide, slightly curved Gaussian of 3 million photons.

model = ptd.simulate_scan(folder / "model.h5", n_patterns=100, N=N, step_px=7.0)
corners_px = np.round(model.positions_px - model.positions_px.min(axis=0)).astype(int)
side = int(corners_px.max()) + N
rows, columns = np.mgrid[:side, :side]
object_ = 0.95 * np.exp(0.6j * np.sin(rows / 5) * np.cos(columns / 7) + 0.4j * (np.hypot(rows - 60, columns - 60) < 25))
y, x = np.mgrid[:N, :N] - (N - 1) / 2
probe = np.exp(-(y**2 + x**2) / (N / 5) ** 2 + 0.02j * (y**2 + 0.7 * x**2))
probe *= np.sqrt(3e6 / (np.abs(probe) ** 2).sum())

# %%
# The angular spectrum carries the wave on: a phase for each spatial frequency.

wavelength_m = 1.23984198e-6 / energy_eV
frequency = np.fft.fftfreq(N, pixel_m)
axial = np.sqrt(1 / wavelength_m**2 - frequency[:, None] ** 2 - frequency**2)
carry = np.exp(2j * np.pi * distance_m * (axial - 1 / wavelength_m))
patches = np.stack([object_[row : row + N, column : column + N] for row, column in corners_px])
holograms = np.abs(np.fft.ifft2(carry * np.fft.fft2(probe * patches))) ** 2
counts = np.random.default_rng(1).poisson(holograms)
geometry = {"pixel_size_m": pixel_m, "energy_eV": energy_eV, "detector_distance_m": distance_m}
scan = ptd.write_scan(folder / "near.h5", counts, corners_px, probe, **geometry)

# %%
# The same scan refined in the near field, and by mistake in the far field.

near = ptd.refine_object(scan, output_dir=folder / "near", iterations=60, propagation="near_field", devices=1)
far = ptd.refine_object(scan, output_dir=folder / "far", iterations=60, devices=1)
for name, result in (("near field", near), ("far field", far)):
    print(f"{name}: Fourier error {result.metrics['fourier_error']:.4f}")

# %%
# Only one of them explains the patterns.

figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained")
axes[0].imshow(counts[50], cmap="magma")
axes[0].set_title("one hologram")
for axis, result, title in ((axes[1], near, "near field"), (axes[2], far, "far field, wrong")):
    axis.imshow(np.angle(result.object_ * np.exp(-1j * np.angle(result.object_.mean()))), cmap="viridis")
    axis.set_title(f"{title}: phase")
for axis in axes:
    axis.set_axis_off()
