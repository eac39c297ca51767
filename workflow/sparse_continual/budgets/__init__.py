"""Arithmetic on config alone: what a condition costs, and the shapes of its fair dense controls."""
