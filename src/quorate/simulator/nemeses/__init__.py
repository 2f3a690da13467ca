"""What goes wrong in a run: faults as data, how a seed draws them, and what makes them happen."""
