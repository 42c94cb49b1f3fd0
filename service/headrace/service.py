"""The composition root: builds the parts and joins them."""
