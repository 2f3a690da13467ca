"""What the doors of a process count while they work; since it began."""

import msgspec


class RpcFigures(msgspec.Struct, array_like=True):
    """Of one ``RpcServer``."""

    calls: int
    """That came, refused ones included."""
    calls_under_way: int
    calls_refused: int
    """Because of a bound: too many at a time on one connection."""
    connections: int
