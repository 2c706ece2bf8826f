"""Probes to start from, one kind in each file: the light in the plane of the detector, from a few numbers."""
