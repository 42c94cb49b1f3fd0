"""Measures of Headrace against floors taken in the same run: `python -m bench`."""
