"""Checks of a launch: what was found, whether it will do, and what to change."""
