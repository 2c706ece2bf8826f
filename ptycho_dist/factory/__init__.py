"""Build the payload of a run from settings, scan header and bundle."""
