"""The course's key/value labs by a real clock: three nodes of this machine, each with its disk.

    .venv/bin/python bench/kv_labs.py

Labs 3A and 4B: a thousand appends, one after the other, at most 33.3 ms each on average.  Lab 3B:
four hundred puts, each read back, within 20 s.  The bounds are the labs'; what is asserted is
asserted in virtual time (``make labs``).
"""

import time

import quorate

APPENDS, APPEND_MS = 1_000, 33.3
PUTS, PUTS_S = 400, 20.0


def main() -> None:
    with quorate.local(nodes=3) as q:
        kv = q.kv
        kv.put("x", "")
        began = time.perf_counter()
        for number in range(APPENDS):
            kv.append("x", f"x 0 {number} y")
        append_ms = (time.perf_counter() - began) * 1000 / APPENDS
        began = time.perf_counter()
        for number in range(PUTS):
            kv.put("y", str(number % 2))
            entry = kv.get("y")
            if entry is None or entry.value != str(number % 2).encode():
                raise SystemExit("a put was not read back")
        puts_s = time.perf_counter() - began
    print(f"{'':34}{'bound':>10}{'figure':>10}")
    print(f"{'speed (3A): an append':34}{APPEND_MS:>7} ms{append_ms:>7.2f} ms")
    print(f"{'snapshot size (3B): puts and gets':34}{PUTS_S:>8} s{puts_s:>8.2f} s")


if __name__ == "__main__":
    main()
