"""What image files are made of: segments, chunks, tiles, boxes. Each format's walk counts them before a decoder starts.

Nothing is decoded here, and what is read is bounded: a file that would cost its decoder too much is refused.
"""
