"""How good an object is: metrics, pictures, report."""
