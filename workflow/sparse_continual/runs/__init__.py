"""Training a condition on a task stream."""
