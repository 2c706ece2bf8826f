"""The Python interface: what the commands do, called from a script or a notebook."""
