"""A machine of a cluster: its configuration, identity, supervisor and processes."""
