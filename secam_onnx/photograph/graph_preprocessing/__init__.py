"""Preprocessing that is inside a graph: what it does to the picture before its first layer."""
