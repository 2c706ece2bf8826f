"""Lightning training on all ranks."""
