"""What kind of sparsity a checkpoint has."""
