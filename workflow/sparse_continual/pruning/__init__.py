"""From a dense model and a method to a topology."""
