"""The page a lab member reads."""
