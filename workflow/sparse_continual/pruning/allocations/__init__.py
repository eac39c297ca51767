"""How the weights that stay are shared out over the matrices, one file each."""
