"""Many connections: one after the other, all at once; and none at all (idle)."""

import os
import select
import signal
import socket
import subprocess
import time

from harness import idle as memory, netns
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import Failure, cpu_share, require, tail, wait_until
from harness.registry import test
from harness.servers import start_redis

CYCLES = 10000
AT_ONCE = 10000
CONNECTIONS_PER_BATCH = 500
UNREAD = 3000
IDLE = 5000
ENGINE_BYTES_MAX = 1000
HOST_BYTES_MAX = 320


def one_cycle(port, ends_first):
    """Connect, PING, close: from the client's side, from the server's (QUIT), or by a reset."""
    with socket.socket() as connection:
        connection.settimeout(10)
        connection.connect((HOST_V4, port))
        connection.sendall(b"PING\r\n")
        answer = connection.recv(100)
        require(answer == b"+PONG\r\n", f"PING answered {answer!r}")
        if ends_first == "server":
            connection.sendall(b"QUIT\r\n")
            answer = b""
            while part := connection.recv(100):
                answer += part
            require(answer == b"+OK\r\n", f"QUIT answered {answer!r}")
        elif ends_first == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def wait_connected_clients(client, count, timeout_s=15):
    wait_until(lambda: int(client.info("clients")["connected_clients"]) == count,
               f"redis has {count} connections", timeout_s, 0.1)


@test(timeout_s=300)
def connect_close_10000(context):
    """10,000 connect/close cycles leak neither descriptors, nor arena, nor connections."""
    lab = context.up()
    redis = start_redis(lab)
    with redis.client() as client:
        with netns.inside(lab.client):
            for _ in range(50):
                one_cycle(redis.port, "client")
        wait_connected_clients(client, 1)
        descriptors = redis.program.descriptors()
        before = engine_figures(lab)
        with netns.inside(lab.client):
            for turn in range(CYCLES):
                one_cycle(redis.port, ("client", "server", "client", "reset")[turn % 4])
        wait_connected_clients(client, 1)
        require(redis.program.descriptors() == descriptors,
                f"redis had {descriptors} descriptors and has {redis.program.descriptors()}")
        wait_same_figures(lab, before)
        require(client.command("PING") == b"PONG", "no PONG afterwards")
    redis.program.stop()
    lab.assert_nothing_left()


def engine_figures(lab):
    """What must be as before once all is closed; nothing for kernel TCP."""
    if lab.stack != "pno":
        return None
    stats = lab.stats()
    alive = [s for s in lab.sockets() if s["state"] not in ("TIME-WAIT", "LISTEN")]
    return {"connections": len(alive),
            "receive bytes": sum(t["receive_bytes_in_use"] for t in stats["tenants"]),
            "sockets": sum(t["sockets"] for t in stats["tenants"])}


def wait_same_figures(lab, before):
    try:
        wait_until(lambda: engine_figures(lab) == before, "the engine holds what it held", 10, 0.2)
    except Failure as failure:
        raise Failure(f"{failure}: {before} before, {engine_figures(lab)} now") from None


@test(timeout_s=300)
def connections_10000_at_once(context):
    """10,000 clients at once, each answered, twice; then all gone."""
    lab = context.up()
    redis = start_redis(lab)
    with redis.client(timeout=30) as client:
        before = engine_figures(lab)
        connections = []
        with netns.inside(lab.client):
            while len(connections) < AT_ONCE:
                connections += open_batch(redis.port, CONNECTIONS_PER_BATCH)
        wait_connected_clients(client, AT_ONCE + 1, 30)
        for turn in range(2):
            ask_all(connections, turn)
        if lab.stack == "pno":
            established = [s for s in lab.sockets() if s["state"] == "ESTABLISHED"]
            require(len(established) == AT_ONCE + 1, f"pno ss shows {len(established)} connections")
        for connection in connections:
            connection.close()
        wait_connected_clients(client, 1, 30)
        if lab.stack == "pno":
            wait_same_figures(lab, before)
    redis.program.stop()
    lab.assert_nothing_left()


# Accepts all, and reads of none.
IGNORING = """
import socket
listener = socket.create_server(("10.77.0.1", 7001), backlog=4096)
kept = []
while True:
    kept.append(listener.accept()[0])
    if len(kept) == 1 + %d: # with that which found us listening
        print("all", flush=True)
"""


@test(timeout_s=120)
def killed_with_many_unread(context):
    """kill -9 of a program that has not read what thousands of clients sent: each gets a reset."""
    lab = context.up()
    program = lab.start_host("ignoring", ["/usr/bin/python3", "-c", IGNORING % UNREAD])
    lab.wait_listening(program, 7001)
    connections = []
    with netns.inside(lab.client):
        while len(connections) < UNREAD:
            connections += open_batch(7001, CONNECTIONS_PER_BATCH)
    for connection in connections:
        connection.send(b"unread")
    wait_until(lambda: "all" in tail(program.log_path), "all are accepted", 30)
    time.sleep(0.5)
    program.kill()
    resets = 0
    deadline = time.monotonic() + 20
    for connection in connections:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            connection.recv(100)
        except ConnectionResetError:
            resets += 1
        except TimeoutError:
            pass
        connection.close()
    require(resets == UNREAD, f"{resets} of {UNREAD} clients got a reset")
    lab.assert_nothing_left()


def open_batch(port, count):
    """Open `count` connections at the same time."""
    batch = []
    poller = select.poll()
    for _ in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((HOST_V4, port))
        poller.register(connection, select.POLLOUT)
        batch.append(connection)
    waiting = {c.fileno(): c for c in batch}
    deadline = time.monotonic() + 20
    while waiting:
        for number, _ in poller.poll(1000):
            error = waiting[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            require(error == 0, f"connecting: errno {error}")
            poller.unregister(number)
            del waiting[number]
        require(time.monotonic() < deadline, f"{len(waiting)} of {count} do not connect")
    return batch


def ask_all(connections, turn):
    """Send to all, then collect from all."""
    for number, connection in enumerate(connections):
        connection.setblocking(True)
        connection.settimeout(20)
        connection.sendall(b"ECHO %08d\r\n" % (number + turn))
    for number, connection in enumerate(connections):
        wanted = b"$8\r\n%08d\r\n" % (number + turn)
        got = b""
        while len(got) < len(wanted):
            part = connection.recv(100)
            require(part, f"connection {number} was closed")
            got += part
        require(got == wanted, f"connection {number} answered {got!r}")


@test(timeout_s=300, pno_only=True, capture=False)
def idle_connections_are_small(context):
    """Engine and host library hold about a kilobyte for an idle connection (docs/benchmarks.md)."""
    engine, host = memory.measure(context.up(), IDLE)
    require(engine <= ENGINE_BYTES_MAX and host <= HOST_BYTES_MAX,
            f"an idle connection takes {engine:.0f} bytes of the engine, {host:.0f} of the program")


@test()
def idle(context):
    """An idle redis with connections, and an idle engine, use under 1 % of a core each."""
    lab = context.up()
    redis = start_redis(lab)
    clients = [redis.client() for _ in range(20)]
    for client in clients:
        require(client.command("PING") == b"PONG", "PING")
    pids = {"redis": redis.pid}
    if lab.stack == "pno":
        pids["pnod"] = lab.pnod_pid()
    time.sleep(0.5)
    shares = cpu_share(pids.values(), 5.0)
    for name, pid in pids.items():
        require(shares[pid] < 0.01, f"idle {name} uses {shares[pid]:.1%} of a core")
    for client in clients:
        require(client.command("PING") == b"PONG", "PING after the idle time")
        client.close()


@test(pno_only=True)
def idle_python_server(context):
    """A server that blocks in accept, poll or select sleeps too."""
    lab = context.up()
    server = lab.start_host("http", ["/usr/bin/python3", "-m", "http.server", "8000", "--directory",
                                     lab.folder])
    lab.wait_listening(server, 8000)
    time.sleep(0.5)
    pids = {"http.server": server.pid, "pnod": lab.pnod_pid()}
    shares = cpu_share(pids.values(), 5.0)
    for name, pid in pids.items():
        require(shares[pid] < 0.01, f"idle {name} uses {shares[pid]:.1%} of a core")


HUNGRY = """
import errno, signal, socket, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
kept = []
try:
    while len(kept) < 1000:
        kept.append(socket.create_connection((sys.argv[1], 9000)))
except OSError as error:
    print(len(kept), errno.errorcode[error.errno], flush=True)
signal.pause()
kept.clear()
socket.create_connection((sys.argv[1], 9000)).close()
print('again', flush=True)
"""


@test(timeout_s=60, pno_only=True)
def one_program_cannot_use_up_all(context):
    """A program that takes all it can get meets its quota, and others are served beside it."""
    lab = context.up(pnod_options=("--connections", "400"))
    with netns.inside(lab.client):
        listener = socket.create_server((CLIENT_V4, 9000), backlog=1000)
    hungry = lab.start_host("hungry", ["/usr/bin/python3", "-c", HUNGRY, CLIENT_V4])
    said = hungry.log_path

    def log():
        with open(said, encoding="utf-8") as file:
            return file.read().split()
    wait_until(lambda: len(log()) >= 2, "the hungry program meets its quota", 20)
    count, error = log()[:2]
    require(count == "300" and error == "ENOBUFS", f"it had {count} sockets, then {error}")
    redis = start_redis(lab)
    for _ in range(20):
        with redis.client() as client:
            require(client.command("ECHO", "served") == b"served", "another program is not served")
    tenants = {t["processes"][0]["program"]: t for t in lab.stats()["tenants"]}
    require(tenants["python3"]["quota_refused"] > 0, "no counter tells")
    require(tenants["redis-server"]["quota_refused"] == 0, "redis met a quota")
    listener.close()  # resets all: one that waits for a peer's FIN would count on
    with netns.inside(lab.client):
        listener = socket.create_server((CLIENT_V4, 9000))
    os.kill(hungry.pid, signal.SIGUSR1)
    wait_until(lambda: "again" in log(), "what was given back can be had again", 10)
    hungry.stop()
    redis.program.stop()
    listener.close()
    lab.assert_nothing_left()


EAGER = """
import select, socket, sys, time
count, size, pieces = 64, 100, 40
made = [socket.create_connection((sys.argv[1], 9000)) for _ in range(count)]
for number, one in enumerate(made):
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.setblocking(False)
print('ready', flush=True)
sys.stdin.readline()
start = time.monotonic()
for piece in range(pieces):
    for number, one in enumerate(made):
        assert one.send(bytes([number]) * size) == size
    select.select(made, [], [], 0)
took = time.monotonic() - start
print('took', took, flush=True)
for one in made:
    one.setblocking(True)
    one.shutdown(socket.SHUT_WR)
    assert one.recv(1) == b''
"""


@test(timeout_s=60, pno_only=True)
def a_stopped_engine_blocks_no_nonblocking_call(context):
    """More operations than a ring holds while pnod is stopped: calls return, every byte arrives later."""
    lab = context.up()
    with netns.inside(lab.client):
        listener = socket.create_server((CLIENT_V4, 9000), backlog=100)
    argv = lab.host_argv(["/usr/bin/python3", "-c", EAGER, CLIENT_V4], True)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        pid = lab.pnod_pid()
        try:
            peers = [listener.accept()[0] for _ in range(64)]
            require(program.stdout.readline() == "ready\n", "the program did not connect")
            os.kill(pid, signal.SIGSTOP)
            program.stdin.write("\n")
            program.stdin.flush()
            readable = select.select([program.stdout], [], [], 10)[0]
            require(readable, "a non-blocking send blocks while pnod is stopped")
            os.kill(pid, signal.SIGCONT)
            got = []
            for peer in peers:
                peer.settimeout(20)
                data = b""
                while part := peer.recv(65536):
                    data += part
                require(len(data) == 4000 and len(set(data)) == 1, f"{len(data)} bytes, not 4000")
                got.append(data[0])
                peer.close()
            require(sorted(got) == list(range(64)), f"streams are mixed up: {got}")
            require(program.wait(10) == 0, "the program failed")
        finally:
            os.kill(pid, signal.SIGCONT)
            program.kill()
    listener.close()
    lab.assert_nothing_left()
