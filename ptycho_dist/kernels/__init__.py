"""Compiled loops over plain arrays, which know neither physics nor ranks."""
