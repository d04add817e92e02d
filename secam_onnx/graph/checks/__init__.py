"""Checks of strangers' files, after which the rest of the package can rely on the graph."""
