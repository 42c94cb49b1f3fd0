"""Sensors that are built in: each an ordinary function, for `use:` in a triggers.yaml and for authors' own sensors."""
