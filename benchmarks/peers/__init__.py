"""Small programs that drive other packages, each in its own environment."""
