"""Scan maps: YAML files that say where an HDF5 file of a beamline holds what, and what it means."""
