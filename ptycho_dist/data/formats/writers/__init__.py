"""One file for each format that a scan can be written in."""
