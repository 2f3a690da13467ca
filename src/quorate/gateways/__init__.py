"""Doors that speak somebody else's protocol."""
