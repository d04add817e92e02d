"""Opened classifiers: the metadata of their files, the analysis of ordinary models, and the sessions that run them."""
