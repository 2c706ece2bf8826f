"""A look at every pattern of a scan, once: what is wrong with it, and what is odd."""
