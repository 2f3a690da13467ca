"""Where the world is touched: ``ports`` names what there is, ``real`` and ``simulated`` are it."""
