"""Storage formats of published sparse weights, one file each: bits and values in, matrices out."""
