"""A scan that is predicted while it is measured: sources, the object so far, and what is shown of it."""
