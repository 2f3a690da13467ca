"""Calls between processes: one request and one answer, each with a deadline.

``client`` and ``server`` are what others use; ``connection`` is what both are made of; ``frames``
and ``handshake`` are the protocol, pure.
"""
