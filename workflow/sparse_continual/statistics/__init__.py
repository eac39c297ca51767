"""From scores to estimates, intervals and tests."""
