"""Where a base model comes from, and how it is loaded and trained."""
