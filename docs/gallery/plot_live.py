"""
A scan that is still measured
=============================

Patterns are predicted as they come. Here a thread plays the detector: every half second it writes a file with 40
patterns into a folder, and at the end a file named ``COMPLETE``. On the command line the same is ``ptycho-dist infer
--follow FOLDER``.
"""

import tempfile
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ptycho_dist as ptd

folder = Path(tempfile.mkdtemp())
incoming, results = folder / "incoming", folder / "live"
incoming.mkdir()

# %%
# What will be measured.

whole = ptd.simulate_scan(folder / "whole.h5", n_patterns=240, N=64, step_px=6.0, order="as_measured")
counts, corners_px = whole.counts(), whole.positions_px


def measure() -> None:
    """Write a part of the scan every half second; a file appears under its name when it is whole."""
    for number, first in enumerate(range(0, len(counts), 40)):
        part, name = slice(first, first + 40), f"part_{number:03}.h5"
        ptd.write_scan(incoming / name, counts[part], corners_px[part], whole.probe, pixel_size_m=20e-9).close()
        time.sleep(0.5)
    (incoming / "COMPLETE").touch()


# %%
# Follow it to its end. ``live/preview.png`` is replaced at each update; a viewer that reloads it shows the scan grow.

detector = threading.Thread(target=measure)
detector.start()
result = ptd.infer(follow=incoming, output_dir=results, devices=1)
detector.join()
print(f"{result.metrics['live_received']} patterns came, Fourier error {result.metrics['fourier_error']:.4f}")

# %%
# The last preview, and the final object, which knows every neighbour.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
axes[0].imshow(plt.imread(results / "preview.png"))
axes[0].set_title("preview.png")
axes[1].imshow(
    np.angle(result.object_ * np.exp(-1j * np.angle(result.object_.mean()))), cmap="viridis", vmin=-1, vmax=1
)
axes[1].set_title("final object, phase")
for axis in axes:
    axis.set_axis_off()
