# %% [markdown]
# # A reconstruction in a notebook
#
# A small scan is simulated, looked at, reconstructed on two ranks, compared with the truth, and opened again.
# It takes about a minute on a laptop without a GPU.

# %%
import numpy as np

import ptycho_dist as ptd

scan = ptd.simulate_scan("notebook/scan.h5", n_patterns=64, N=32, photons=1e5, devices=1, overwrite=True)
scan

# %% [markdown]
# The cell ends with the scan: its mean pattern, where it was measured, and the probe. Patterns, positions and probe are
# arrays, and only what is asked for is read.

# %%
patterns, positions = scan.counts(), scan.positions_px
patterns.shape, positions.shape, scan.probe.shape, scan.header.pixel_size_m

# %% [markdown]
# `refine_object` reconstructs by physics alone; `reconstruct` trains a network first. Arrays are taken where a scan
# is: they are written once, into the output folder. Below the cell one line says how far it is.

# %%
result = ptd.refine_object(
    patterns=patterns,
    positions_px=positions,
    probe=scan.probe,
    pixel_size_m=scan.header.pixel_size_m,
    output_dir="notebook/refined",
    iterations=30,
    devices=2,
    accelerator="cpu",
    overwrite=True,
)
result

# %%
result.show()

# %% [markdown]
# What was measured is in `result.metrics`, the course of the iterations in `result.history`, all of it as numbers and
# arrays. The written page with everything is `result.report`.

# %%
errors = result.history["refinement"]["fourier_error"]
print(f"Fourier error {errors[0]:.3f} at first, {errors[-1]:.3f} at last")
print(f"{len(result.metrics)} metrics, page {result.report.name}")

# %% [markdown]
# The simulation knows the object. A reconstruction is free up to a constant phase, which is taken off here. Corners of
# patches count from `object_origin_px` in the result and from `object_origin_px` of the scan in the truth.

# %%
shift = np.rint(np.subtract(result.object_origin_px, scan.object_origin_px)).astype(int)
rows, columns = (slice(start + 16, start + side - 16) for start, side in zip(shift, result.object_.shape, strict=True))
truth, found = scan.object_[rows, columns], result.object_[16:-16, 16:-16]
turned = found * np.exp(-1j * np.angle(np.vdot(truth, found)))
print(f"phase differs by {np.std(np.angle(turned * np.conj(truth))):.2f} rad rms from the truth")

# %% [markdown]
# Tomorrow the folder is opened again. A finished cell that is run again gives the result that is there, unless
# `overwrite=True` asks for it anew.

# %%
again = ptd.open_result("notebook/refined")
print((again.object_ == result.object_).all(), again.positions_px.shape)

# %% [markdown]
# A mistake is told in a line.

# %%
try:
    ptd.refine_object(scan, output_dir="notebook/other", iteration=3)
except ptd.PtychoDistError as error:
    print(error)
