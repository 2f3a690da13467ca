"""As ``lying_node.py``, of the key/value store: APPEND is acknowledged before any log has it.

python tests/lying_kv_node.py SETTINGS
"""

import sys

from lying_node import plant

from quorate.base.codec import UNREADABLE, decode
from quorate.kv.core.commands import Append, Apply
from quorate.torture.kv_node import start_kv
from quorate.torture.node import main


def _lengths(body: bytes) -> list[int] | None:
    try:
        operations = decode(body, Apply).operations
    except UNREADABLE:  # another command
        return None
    return [1] * len(operations) if all(isinstance(o, Append) for o in operations) else None


if __name__ == "__main__":
    plant(_lengths)
    main(sys.argv[1], start_kv)
