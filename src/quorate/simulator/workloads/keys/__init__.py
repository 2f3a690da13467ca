"""The key/value store under faults: clients of all kinds on few keys, and what judges them.

``cluster`` has the nodes with a small store, ``record`` what clients saw, ``plain``,
``transactions`` and ``watching`` the clients, ``serial``, ``counting`` and ``told`` the judges of
their histories, ``workload`` puts them together.
"""
