"""The real world: sockets, files, fsync beside the loop, child processes, clocks.

``world.real_world`` and ``world.run`` are the way in.
"""
