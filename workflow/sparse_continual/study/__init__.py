"""The config, checked and resolved: conditions, blocks, and every result with its name and inputs."""
