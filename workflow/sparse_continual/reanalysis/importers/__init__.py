"""Logs of other frameworks as score matrices, one file per framework: `read(path)` -> foreign.Foreign."""
