"""Which ranks there are, what each owns, and how they talk."""
