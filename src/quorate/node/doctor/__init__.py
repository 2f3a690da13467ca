"""``quorate doctor``: what is wrong with a cluster, since when, and what is safe to do next.

``asking.py`` and ``local.py`` collect facts (``facts.py``); ``groups.py`` and ``machines.py`` draw
conclusions from them, and touch nothing of the world.
"""
