"""The simulated world: virtual time, one seed, and a network and disks that fail on purpose.

Nothing in production imports this.  ``world.Simulation`` is the way in.
"""
