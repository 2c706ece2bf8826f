"""MPI as a launcher and a carrier of objects; optional."""
