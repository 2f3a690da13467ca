"""What ``import quorate`` offers to a program: a cluster, or one of its own for tests."""
