"""Scores of saved weights on every task and on the base's own mixture."""
