"""Damaged models, and workers that look at them."""
