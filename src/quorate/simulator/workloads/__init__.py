"""What clients do in a simulation, and how their histories are judged."""
