"""How long a job takes, and what it needs, on any number of ranks: a prediction from a short calibration."""
