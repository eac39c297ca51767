"""Where a base model comes from: generated, local, downloaded, published."""
