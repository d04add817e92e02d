"""Damaged images and models, and a process that looks at them."""
