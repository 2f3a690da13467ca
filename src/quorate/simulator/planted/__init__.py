"""Known bugs, planted: a harness that never failed proves nothing.

Each is a patch of the running product, kept outside the product's code, that a context manager puts
in and takes out again. ``python -m quorate.simulator.planted`` runs seeds until each is caught.
"""
