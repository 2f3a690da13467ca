"""The command ``quorate``: what people and scripts type."""
