"""Sources of a base model: generated, local, downloaded, published."""
