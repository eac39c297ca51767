"""Where a base model may come from, one file each."""
