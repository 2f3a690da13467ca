"""What must be true of a run: of all replicas together, and of what clients saw."""
