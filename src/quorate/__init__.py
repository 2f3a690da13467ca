"""quorate makes a handful of ordinary machines behave like one that does not fail."""

__version__ = "0.1.0"
