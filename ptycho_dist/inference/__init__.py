"""Sharded prediction with a trained bundle."""
