"""From estimates to one verdict per claim, and the checks that may stop it."""
