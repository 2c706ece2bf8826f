"""Scans: reading, grouping, batching."""
