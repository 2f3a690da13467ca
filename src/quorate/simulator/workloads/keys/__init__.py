"""The key/value store under faults: clients of all kinds on few keys, and what judges them.

``cluster`` has the nodes with a small store, ``record`` what clients saw, ``plain``,
``transactions``, ``viewing`` and ``watching`` the clients of our own protocol, ``resp_clients``,
``resp_keys`` and ``local_reads`` those that speak RESP, ``serial``, ``counting`` and ``told`` the
judges of their histories, ``workload`` puts them together.
"""
