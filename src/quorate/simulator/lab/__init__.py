"""Bring your own Raft: the course labs' tests, for our product and for a learner's core."""
