"""The kind of sparsity of a checkpoint."""
