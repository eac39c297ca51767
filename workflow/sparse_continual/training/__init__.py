"""One training loop, what it writes to, its batches and its measures."""
