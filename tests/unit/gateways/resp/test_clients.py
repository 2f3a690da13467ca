"""Clients as they are: redis-py, redis-cli, redis-benchmark and ioredis against a real door."""

import asyncio
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from real.test_rpc_tls import make_authority, make_paths
from redis.lock import Lock
from resp_store import Bench, LocalService, open_door

from quorate.base.errors import BadConfiguration, Maybe
from quorate.base.ids import Address
from quorate.gateways.resp.commands import scripts
from quorate.gateways.resp.door import SPARE_FILES, RespDoor, within_files
from quorate.gateways.resp.gateway import RespSettings

DEADLINE_S = 20
CRLF = b"\r\n"


def memory_bytes() -> int:
    """Of this process, as the machine counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[int, LocalService]]:
    with open_door() as found:
        yield found


@pytest.fixture
def port(opened: tuple[int, LocalService]) -> int:
    with redis.Redis(port=opened[0]) as client:
        client.flushall()
    return opened[0]


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(port: int, protocol: int) -> None:
    with redis.Redis(port=port, protocol=protocol, client_name="me") as client:
        assert client.set("a", "1", ex=100) is True
        assert (client.get("a"), client.ttl("a"), client.incr("a")) == (b"1", 100, 2)
        assert client.mget("a", "none") == [b"2", None]
        assert client.set("a", "3", get=True) == b"2"
        assert client.incrbyfloat("f", 0.1) == 0.1
        assert sorted(client.scan_iter(match="?", count=1)) == [b"a", b"f"]
        assert client.keys("*") == [b"a", b"f"]
        assert client.info("replication")["role"] == "master"
        assert client.info()["redis_version"].startswith("7.")
        assert client.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
        assert client.client_getname() in ("me", b"me")
        assert client.client_list()[0]["lib-name"].startswith("redis-py")
        assert client.command_count() == len(client.command())
        assert client.time()[0] > 1_600_000_000
        assert client.object("encoding", "a") == b"int"
        assert client.getex("a", persist=True) == b"3"
        assert client.expiretime("a") == -1
        with pytest.raises(redis.ResponseError, match=r"quorate does not have hashes \(HSET\)"):
            client.hset("h", "a", "b")
        with pytest.raises(redis.ResponseError, match="value is not an integer"):
            client.set("text", "x")
            client.incr("text")


def test_pipelines_and_transactions_of_redis_py(port: int) -> None:
    with redis.Redis(port=port) as client:
        with client.pipeline(transaction=False) as pipe:
            for each in range(100):
                pipe.set(f"k{each}", each).get(f"k{each}")
            assert pipe.execute()[1::2] == [b"%d" % each for each in range(100)]
        with client.pipeline() as pipe:
            assert pipe.set("a", 1).incr("a").get("a").execute() == [True, 2, b"2"]
        with client.pipeline() as pipe:
            pipe.watch("a")
            client.set("a", 10)
            pipe.multi()
            pipe.set("a", 20)
            with pytest.raises(redis.WatchError):
                pipe.execute()

        def doubled(pipe: "redis.client.Pipeline") -> None:
            value = int(pipe.get("a"))
            pipe.multi()
            pipe.set("a", value * 2)

        client.transaction(doubled, "a")
        assert client.get("a") == b"20"


def test_locks_of_redis_py(port: int) -> None:
    with redis.Redis(port=port) as client:
        lock = client.lock("lock", timeout=10)
        assert lock.acquire(blocking=False)
        assert not client.lock("lock", timeout=10).acquire(blocking=False)
        token = client.execute_command("QUORATE.FENCE", "lock")
        assert lock.extend(20) and 25_000 < client.pttl("lock") <= 30_000
        assert lock.extend(5, replace_ttl=True) and client.pttl("lock") <= 5_000
        assert lock.reacquire() and client.pttl("lock") > 5_000
        lock.release()
        assert not client.exists("lock")
        with client.lock("lock", timeout=10):
            assert client.execute_command("QUORATE.FENCE", "lock") > token
        with pytest.raises(redis.exceptions.LockError):
            lock.release()
        with pytest.raises(redis.ResponseError, match="runs no Lua scripts"):
            client.eval("return 1", 0)
        with pytest.raises(redis.ResponseError, match="runs no Lua scripts"):
            client.register_script("return 1")()


def test_the_scripts_are_those_of_the_installed_redis_py() -> None:
    found = [Lock.LUA_RELEASE_SCRIPT, Lock.LUA_EXTEND_SCRIPT, Lock.LUA_REACQUIRE_SCRIPT]
    known = [scripts.RELEASE, scripts.EXTEND, scripts.REACQUIRE]
    assert [scripts.sha_of(script.encode()) for script in found] == known


def test_redis_py_with_asyncio(port: int) -> None:
    async def main() -> None:
        async with redis.asyncio.Redis(port=port) as client:
            await asyncio.gather(*(client.incr("a") for _ in range(50)))
            assert await client.get("a") == b"50"
            async with client.lock("lock", timeout=5):
                assert await client.pttl("lock") > 0
            async with client.pipeline() as pipe:
                assert await pipe.set("b", 1).get("b").execute() == [True, b"1"]

    asyncio.run(main())


def test_redis_py_does_not_repeat_what_may_have_happened(
    opened: tuple[int, LocalService], port: int
) -> None:
    service = opened[1]
    with redis.Redis(port=port) as client:
        client.ping()
        before = service.applies
        service.fails = Maybe("a change of leader")
        try:
            with pytest.raises(redis.ResponseError, match="MAYBE a change of leader"):
                client.incr("a")
        finally:
            service.fails = None
        assert service.applies == before + 1
        assert client.get("a") is None, "and it goes on with a new connection"


def test_auth_of_redis_py() -> None:
    with open_door(RespSettings(password="secret")) as (port, _):
        for protocol in (2, 3):
            with redis.Redis(port=port, password="secret", protocol=protocol) as client:
                assert client.ping()
        with (
            pytest.raises(redis.AuthenticationError),
            redis.Redis(port=port, password="wrong", retry=None) as client,
        ):
            client.ping()


def _run(*words: str, lines: str = "") -> str:
    done = subprocess.run(
        words, input=lines, capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    return done.stdout


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed")
def test_redis_cli(port: int) -> None:
    assert _run("redis-cli", "-p", str(port), "set", "a", "hello") == "OK\n"
    told = _run("redis-cli", "-3", "-p", str(port), lines="get a\nmulti\nincr n\nexec\nHELLO\n")
    assert "hello" in told and "QUEUED" in told and "server" in told
    assert _run("redis-cli", "-p", str(port), "--scan", "--pattern", "a*") == "a\n"
    assert "2 strings" in _run("redis-cli", "-p", str(port), "--bigkeys")


@pytest.mark.skipif(
    shutil.which("redis-benchmark") is None, reason="redis-benchmark is not installed"
)
def test_redis_benchmark(port: int) -> None:
    words = ("-t", "ping,set,get,incr,mset", "-n", "2000", "-c", "20", "-P", "16", "-q")
    told = _run("redis-benchmark", "-p", str(port), *words)
    for name in ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"):
        assert f"{name}" in told
    assert "requests per second" in told and "rror" not in told


IOREDIS = """
const Redis = require("ioredis");
(async () => {
  const client = new Redis(PORT, { name: "me" });
  const found = [];
  found.push(await client.set("a", "1", "EX", 100), await client.get("a"), await client.ttl("a"));
  found.push(await client.multi().incr("a").get("a").exec());
  found.push(await client.pipeline().set("b", "x").get("b").exec());
  await client.watch("a");
  const other = client.duplicate();
  await other.set("a", "5");
  found.push(await client.multi().set("a", "6").exec());
  found.push(await client.scan(0, "MATCH", "a*"));
  try { await client.hset("h", "a", "b"); } catch (error) { found.push(error.message); }
  const buffers = await client.getBuffer("b");
  found.push(buffers.length);
  console.log(JSON.stringify(found));
  client.disconnect(); other.disconnect();
})();
"""


@pytest.fixture(scope="session")
def ioredis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    folder = tmp_path_factory.mktemp("ioredis")
    words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "ioredis@5"]
    try:
        subprocess.run(words, capture_output=True, timeout=60, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm cannot install ioredis: {error}")
    return folder


def test_ioredis(port: int, ioredis: Path) -> None:
    script = ioredis / "run.js"
    script.write_text(IOREDIS.replace("PORT", str(port)))
    assert _run("node", str(script)).strip() == (
        '["OK","1",100,[[null,2],[null,"2"]],[[null,"OK"],[null,"x"]],null,["0",["a"]],'
        '"ERR quorate does not have hashes (HSET) yet",1]'
    )


# The door.


def test_one_client_too_many_is_told_so() -> None:
    with open_door(RespSettings(max_clients=2)) as (port, _):
        address = ("127.0.0.1", port)
        first, second = socket.create_connection(address), socket.create_connection(address)
        for each in (first, second):
            each.sendall(b"PING\r\n")
            assert each.recv(100) == b"+PONG\r\n"
        with socket.create_connection(address) as third:
            assert third.recv(100) == b"-ERR max number of clients reached\r\n"
            assert third.recv(100) == b""
        first.close()
        second.sendall(b"INFO clients\r\n")
        assert b"maxclients:2" in second.recv(1000)
        second.close()


IDLE = 10_000
IDLE_BYTES = 3_500
"""Of the node's memory for one connection that is idle."""
OPEN_IDLE = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
port, count = map(int, sys.argv[1:])
idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]
print("open", flush=True)
sys.stdin.readline()
idle[count // 2].sendall(b"GET n\\r\\n")
print(idle[count // 2].recv(100))
"""


def test_ten_thousand_idle_connections_take_bounded_memory_and_harm_nobody() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < IDLE + 2 * SPARE_FILES:
        pytest.skip(f"a process may not have {IDLE} open files here")
    words = [sys.executable, "-c", OPEN_IDLE]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with open_door() as (port, _), redis.Redis(port=port) as client:
        client.set("a", "x" * 100)
        before = memory_bytes()
        with subprocess.Popen([*words, str(port), str(IDLE)], **pipes) as others:
            assert others.stdout is not None and others.stdin is not None
            assert others.stdout.readline() == "open\n"
            while client.info("clients")["connected_clients"] < IDLE + 1:
                assert others.poll() is None
            each_bytes = (memory_bytes() - before) / IDLE
            assert each_bytes < IDLE_BYTES, each_bytes
            assert client.get("a") == b"x" * 100 and client.incr("n") == 1
            others.stdin.write("\n")
            others.stdin.flush()
            assert others.stdout.readline() == f"{b'$1' + CRLF + b'1' + CRLF}\n"


@pytest.mark.parametrize(
    ("soft", "hard", "clients"),
    [(512, 4096, 3584), (512, 100_000, 20_000), (600, 600, 88), (50_000, 60_000, 20_000)],
)
def test_clients_leave_some_of_the_files_that_the_process_may_open(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, clients: int
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: set_to.append(limits))
    assert within_files(RespSettings(max_clients=20_000)).max_clients == clients
    wanted = min(hard, 20_000 + SPARE_FILES)
    assert set_to == ([(wanted, hard)] if soft < wanted else [])


def test_a_client_that_reads_nothing_does_not_make_the_node_grow(
    opened: tuple[int, LocalService], port: int
) -> None:
    with redis.Redis(port=port) as client, socket.socket() as greedy:
        client.set("a", b"x" * 1_000_000)
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect(("127.0.0.1", port))
        greedy.sendall(b"GET a\r\n" * 2000)
        for _ in range(20):
            unsent = int(client.info("memory")["client_unsent_bytes"])
            assert unsent < 3_000_000
        assert client.ping()


def test_over_tls_who_has_no_certificate_of_the_cluster_gets_no_answer(tmp_path: Path) -> None:
    authority = make_authority("cluster")
    own = make_paths(tmp_path, "n1", authority, authority)
    theirs = make_paths(tmp_path, "other", make_authority("other"), authority)
    with open_door(tls=own) as (port, _):
        options: dict[str, Any] = {"port": port, "ssl": True, "ssl_ca_certs": str(own.ca)}
        options |= {"ssl_check_hostname": False, "retry": None}
        with redis.Redis(**options, ssl_certfile=str(own.cert), ssl_keyfile=str(own.key)) as client:
            client.set("a", b"x" * 1_000_000)
            assert client.strlen("a") == 1_000_000
        for files in ({}, {"ssl_certfile": str(theirs.cert), "ssl_keyfile": str(theirs.key)}):
            with pytest.raises(redis.ConnectionError), redis.Redis(**options, **files) as client:
                client.get("a")


def test_off_loopback_the_door_needs_tls() -> None:
    async def main() -> None:
        gateway = Bench().gateway
        with pytest.raises(BadConfiguration, match="needs mutual TLS"):
            await RespDoor(gateway).open(Address("0.0.0.0:0"), None)

    asyncio.run(main())
