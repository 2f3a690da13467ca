"""What ends a connection: input that is no RESP."""


class Malformed(Exception):
    """What Redis says to it, behind "Protocol error: "."""
