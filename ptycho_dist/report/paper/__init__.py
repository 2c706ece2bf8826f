"""Figures for papers; one kind is one decorated function in a module of this folder."""
