"""What a workload is to the simulator."""

from typing import Protocol

from quorate.simulator.cluster import Cluster


class Workload(Protocol):
    """What clients do to a cluster, and what must come of it."""

    @property
    def cluster(self) -> Cluster: ...

    @property
    def acknowledged(self) -> int: ...

    @property
    def unknown(self) -> int: ...

    @property
    def notes(self) -> dict[str, int]:
        """What a report says beside the common figures."""

    def begin(self) -> object:
        """Start the clients, each on a machine of its own."""

    def finish(self) -> None:
        """After the last fault that ends: demand progress, and judge.  Raises ``Bug``.

        A minority of the nodes (``options.lost``) may be out of order for good.
        """
