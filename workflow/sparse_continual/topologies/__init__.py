"""Which weights exist: the topology, its file, its counts."""
