"""The checks of `tools/check_gpu.py`, each a process of its own."""
