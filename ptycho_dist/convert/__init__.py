"""Scans of any readable format in the project's own."""
