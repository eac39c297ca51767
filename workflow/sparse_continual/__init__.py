"""Continual learning on language models whose connections are physically absent and fixed."""

__version__ = "0.1.0"
