"""One file for each format that a reconstruction is written in or read from."""
