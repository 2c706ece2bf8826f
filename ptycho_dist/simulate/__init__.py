"""Scans with a known object."""
