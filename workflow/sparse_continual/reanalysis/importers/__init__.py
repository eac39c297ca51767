"""Other people's logs as score matrices, one file per framework: `read(path)` -> foreign.Foreign."""
