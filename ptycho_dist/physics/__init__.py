"""Optics that know no networks."""
