"""How published sparse weights are stored, one file a format: bits and values in, matrices out."""
