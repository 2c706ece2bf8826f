"""The report of a run: one page that needs no network, made of what its folder holds."""
