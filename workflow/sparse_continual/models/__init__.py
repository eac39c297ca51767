"""A language model on disk and in memory: its files, its shape, its prunable matrices."""
