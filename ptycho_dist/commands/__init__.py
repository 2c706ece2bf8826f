"""The commands of the command line: their flags, and what each runs."""
