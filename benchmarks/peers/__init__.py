"""Drivers of other programs, run by their own Python; nothing of those programs is kept here."""
