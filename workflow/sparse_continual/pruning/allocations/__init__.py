"""How the kept weights are distributed over the matrices, one file each."""
