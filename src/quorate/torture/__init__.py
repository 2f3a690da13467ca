"""``quorate torture``: real processes, faults on purpose, and a verdict on what their clients saw.

Production never imports it, but for the door ``cli/torture.py``.
"""
