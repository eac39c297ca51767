"""Logs of other frameworks, analysed with this project's statistics."""
