"""Sources of a stream's items, one file each."""
