"""The real world: sockets, files, threads for fsync, child processes, clocks.

``world.real_world`` and ``world.run`` are the way in.
"""
