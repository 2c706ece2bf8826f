"""Distributed physics-informed neural networks for ptychography."""
