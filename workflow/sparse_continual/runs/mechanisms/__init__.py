"""How a condition writes, one file each."""
