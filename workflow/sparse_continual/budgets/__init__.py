"""Arithmetic on config alone: the costs of a condition, and the shapes of its fair dense controls."""
