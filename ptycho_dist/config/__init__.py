"""Settings of a run: frozen dataclasses, precedence and legacy names."""
