"""Refine object, probe, positions and intensities of a start by physics, on all ranks."""
