"""Which weights exist: topology files, and the methods that make them."""
