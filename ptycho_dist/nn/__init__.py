"""Networks that know no optics."""
