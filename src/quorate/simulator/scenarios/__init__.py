"""Stories about a group of replicas, as text that runs: ``*.txt`` and their interpreter.

Tests hold each file to what it prints; the timeline draws it.
"""
