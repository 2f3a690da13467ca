"""The real world raises under simulation, and is whole again afterwards."""

import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid

import pytest

from quorate.runtime.simulated.forbidden import NotInSimulation, forbidden

ATTEMPTS = [
    "time.time()",
    "time.monotonic()",
    "time.perf_counter_ns()",
    "time.sleep(0)",
    "random.random()",
    "random.randint(1, 2)",
    "random.shuffle([1, 2])",
    "random.Random()",
    "random.SystemRandom().random()",
    "random.SystemRandom().randrange(5)",
    "os.urandom(1)",
    "secrets.token_hex(4)",
    "secrets.randbelow(4)",
    "uuid.uuid1()",
    "uuid.uuid4()",
    "socket.socket()",
    "socket.socketpair()",
    "threading.Thread(target=str).start()",
    "subprocess.Popen([sys.executable, '-c', ''])",
    "subprocess.run([sys.executable, '-c', ''])",
    "os.fork()",
]
NAMES = {
    module.__name__: module
    for module in (os, random, secrets, socket, subprocess, sys, threading, time, uuid)
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_it_raises_inside(attempt: str) -> None:
    with forbidden(), pytest.raises(NotInSimulation, match="in the simulated world"):
        eval(attempt, dict(NAMES))


def test_seeded_randomness_is_allowed_inside() -> None:
    with forbidden():
        assert random.Random(5).random() == random.Random(5).random()


def test_everything_is_restored_even_after_an_error() -> None:
    before = (time.time, time.sleep, random.random, os.urandom, uuid.uuid4, os.fork)
    starts = (threading.Thread.start, socket.socket.__init__, random.Random.seed)
    with pytest.raises(ZeroDivisionError), forbidden():
        raise ZeroDivisionError
    assert before == (time.time, time.sleep, random.random, os.urandom, uuid.uuid4, os.fork)
    assert starts == (threading.Thread.start, socket.socket.__init__, random.Random.seed)
    assert random.SystemRandom().random() >= 0
    socket.socket().close()
    assert time.time() > 0
