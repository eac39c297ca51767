"""Sources of a base model, one file each."""
