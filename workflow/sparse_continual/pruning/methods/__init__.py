"""How a topology is chosen, one file each."""
