"""Refinement by tiles: parts of a scan that are refined side by side, and joined where they overlap."""
