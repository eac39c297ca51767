"""The training loop, the tensors that it writes, its batches and its measures."""
