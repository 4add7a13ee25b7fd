"""kill -9 of the application, of the engine, and a tenant that writes garbage."""

import mmap
import os
import random
import re
import select
import socket
import struct
import threading
import time

from harness import netns
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import Failure, cpu_share, require, wait_until
from harness.registry import test
from harness.resp import RedisError
from harness.servers import start_redis


def wait_for_end(connection, what, timeout_s):
    """The peer's end of stream or reset, within the time; data before it are read and dropped."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([connection], [], [], left)[0]:
            break
        try:
            if not connection.recv(1 << 16):
                return
        except ConnectionError:
            return
    raise Failure(f"{what} did not see the end within {timeout_s:g} s")


@test()
def kill_redis(context):
    """kill -9 of redis: every client sees the end at once; nothing is left in engine or arena."""
    lab = context.up()
    redis = start_redis(lab)
    idle, blocked, hungry, half_sent = (redis.client() for _ in range(4))
    blocked.send("BLPOP", "nothing", "0")
    idle.command("SET", "big", b"b" * (4 << 20))
    for _ in range(8):
        hungry.send("GET", "big")
    half_sent.connection.sendall(b"*2\r\n$3\r\nGET\r\n$10\r\nhalf")
    time.sleep(0.3)
    redis.program.kill()
    for name, client in (("an idle client", idle), ("a blocked client", blocked),
                         ("a client in mid-command", half_sent),
                         ("a client with replies outstanding", hungry)):
        wait_for_end(client.connection, name, 1.0)
        client.close()
    refused = None
    try:
        lab.connect(redis.port, timeout=3).close()
    except OSError as error:
        refused = error
    require(isinstance(refused, ConnectionRefusedError), f"the port after the kill: {refused!r}")
    lab.assert_nothing_left()
    again = start_redis(lab)
    again.program.stop()


@test(timeout_s=90)
def kill_redis_many(context):
    """kill -9 of redis with 500 busy connections, five times over: no reference is left behind."""
    lab = context.up()
    for _ in range(5):
        redis = start_redis(lab)
        clients = [redis.client() for _ in range(500)]
        for client in clients:
            client.send("SET", "k", "v" * 1000)
        redis.program.kill()
        for client in clients:
            wait_for_end(client.connection, "one of 500 clients", 3.0)
            client.close()
        lab.assert_nothing_left()


@test(timeout_s=120, pno_only=True)
def kill_pnod(context):
    """kill -9 of pnod: errors, no hang, redis goes on over lo; a new pnod serves it and new ones."""
    lab = context.up()
    redis = start_redis(lab)
    clients = [redis.client(timeout=30) for _ in range(5)]
    clients[0].command("SET", "kept", "yes")
    clients[1].send("BLPOP", "nothing", "0")
    argv = lab.kill_pnod()

    def over_lo():
        return lab.run_host(["redis-cli", "-h", "127.0.0.1", "GET", "kept"], offload=False,
                            timeout_s=5, check=False).stdout == b"yes\n"
    wait_until(over_lo, "redis serves over lo after pnod's death", 5)
    names = lab.run_host(["redis-cli", "-h", "127.0.0.1", "CLIENT", "LIST"], offload=False,
                         timeout_s=5).stdout.decode()
    require(CLIENT_V4 not in names, "redis still believes in connections that died with pnod")
    share = cpu_share([redis.pid], 3.0)[redis.pid]
    require(share < 0.10, f"redis uses {share:.0%} of a core after pnod's death")

    lab.restart_pnod(argv)
    second = start_redis(lab, port=6400)
    with second.client() as client:
        require(client.command("ECHO", "new") == b"new", "a new program is not served")
    for number, client in enumerate(clients):
        # Its segments now meet an engine that knows nothing of it, which answers with a reset.
        if number != 1:
            client.send("PING")
    for number, client in enumerate(clients):
        if number != 1:
            wait_for_end(client.connection, "a client of the old engine", 15.0)
    require(over_lo(), "redis no longer serves over lo after pnod's return")
    lab.wait_listening(redis.program, redis.port, timeout_s=5)
    with redis.client() as client:
        require(client.command("GET", "kept") == b"yes", "redis is not served by the new pnod")
    second.program.stop()
    redis.program.stop()
    lab.assert_nothing_left()


LISTENERS = """
import os, select, socket, sys, threading
def make(port, **options):
    return socket.create_server(('10.77.0.1', port), **options)
def serve(listener, wait):
    while True:
        wait(listener)
        try:
            connection = listener.accept()[0]
        except BlockingIOError:
            continue
        connection.sendall(b'served')
        connection.close()
def with_poll(listener):
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.poll()
blocking = make(7001)
polled = make(7002); polled.setblocking(False)
queued = make(7003); queued.setblocking(False)
epoll = select.epoll(); epoll.register(queued, select.EPOLLIN)
shared = make(7004)
low = make(81)
idle = make(7005)
os.setuid(65534)
if os.fork() == 0 or os.fork() == 0:
    for other in (blocking, polled, queued, low, idle):
        other.close()
    serve(shared, lambda listener: None)
shared.close()
for target, wait in ((blocking, lambda l: None), (polled, with_poll),
                     (queued, lambda l: epoll.poll()), (low, lambda l: None)):
    threading.Thread(target=serve, args=(target, wait)).start()
print('ready', flush=True)
"""


@test(timeout_s=120, pno_only=True)
def restart_pnod(context):
    """A restarted pnod, twice: listeners of all kinds are served again, also low ports after setuid."""
    lab = context.up()
    script = os.path.join(lab.folder, "listeners.py")
    with open(script, "w", encoding="ascii") as file:
        file.write(LISTENERS)
    os.chmod(lab.folder, 0o755)
    program = lab.start_host("listeners", ["/usr/bin/python3", script])
    lab.wait_listening(program, 81)

    def served(port):
        try:
            with lab.connect(port, timeout=2.0) as connection:
                return connection.recv(100) == b"served"
        except OSError:
            return False
    for restarts in range(3):
        for port in (7001, 7002, 7003, 7004, 81):
            wait_until(lambda port=port: served(port), f"port {port} is served", 10)
        if restarts == 2:
            break
        argv = lab.kill_pnod()
        time.sleep(1.0)
        share = cpu_share([program.pid], 2.0)[program.pid]
        require(share < 0.02, f"the program uses {share:.1%} of a core while there is no pnod")
        lab.restart_pnod(argv)
    for _ in range(20):
        require(served(7004), "a connection to a shared listener was not served")
    waits = [s for s in lab.sockets() if s["local"]["port"] == 7005]
    require(not waits, "a listener that nobody waits for was made again")
    program.stop()
    netns.kill_all(lab.host)  # its children
    lab.assert_nothing_left()


@test(timeout_s=60, pno_only=True)
def kill_pnod_during_transfer(context):
    """A program blocked in read, write, connect or accept when pnod dies gets an error, no hang."""
    lab = context.up()
    script = os.path.join(lab.folder, "blocked.py")
    with open(script, "w", encoding="ascii") as file:
        file.write(BLOCKED_PROGRAM)
    with netns.inside(lab.client):
        listener = socket.create_server((CLIENT_V4, 9000))
    listener.settimeout(10)
    program = lab.start_host("blocked", ["/usr/bin/python3", script, CLIENT_V4])
    connections = [listener.accept()[0] for _ in range(2)]
    time.sleep(0.5)
    lab.kill_pnod()
    wait_until(lambda: not program.alive(), "the blocked program ends", 10)
    with open(program.log_path, encoding="utf-8") as log:
        said = sorted(log.read().split())
    require(said == ["read:ECONNRESET", "write:ECONNRESET"], f"the program saw {said}")
    for connection in connections:
        connection.close()


BLOCKED_PROGRAM = """
import errno, socket, sys, threading
def attempt(name, function):
    try:
        while function():
            pass
        print(name + ":end", flush=True)
    except OSError as error:
        print(name + ":" + errno.errorcode[error.errno], flush=True)
reader = socket.create_connection((sys.argv[1], 9000))
writer = socket.create_connection((sys.argv[1], 9000))
threads = [threading.Thread(target=attempt, args=("read", lambda: reader.recv(1000))),
           threading.Thread(target=attempt, args=("write", lambda: writer.send(b"x" * 65536)))]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


# ---- A tenant gone mad: its shared memory is overwritten from outside -----------------------


def shared_mappings(pid):
    """The program's shared memfd mappings: [(start, end)], from its /proc/PID/maps."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-s .*/memfd:", line)
            if match:
                found.append(tuple(int(part, 16) for part in match.groups()))
    return found


def doorbells(pid):
    """The program's eventfds, as our own descriptors (pidfd_getfd)."""
    import ctypes  # pylint: disable=import-outside-toplevel
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{entry}") != "anon_inode:[eventfd]":
                continue
        except OSError:
            continue
        fd = libc.syscall(438, pidfd, int(entry), 0)
        if fd >= 0:
            os.set_blocking(fd, False)
            found.append(fd)
    os.close(pidfd)
    return found


class Vandal:
    """Writes into another process's shared memory: random bytes, or plausible descriptors."""

    WINDOW_BYTES_MAX = 8 << 20  # of each mapping: where rings and headers lie

    def __init__(self, pid, seed):
        self.random = random.Random(seed)
        self.maps = []
        for start, end in shared_mappings(pid):
            length = min(end - start, self.WINDOW_BYTES_MAX)
            with open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "r+b") as file:
                self.maps.append(mmap.mmap(file.fileno(), length))
        self.doorbells = doorbells(pid)
        require(self.maps, "the offloaded program maps no shared memory")

    def ring(self):
        for fd in self.doorbells:
            try:
                os.write(fd, struct.pack("=Q", 1))
            except BlockingIOError:
                pass

    def overwrite_all(self):
        for memory in self.maps:
            memory[:] = self.random.randbytes(len(memory))
        self.ring()

    def overwrite_somewhere(self):
        for memory in self.maps:
            for _ in range(64):
                at = self.random.randrange(0, len(memory) - 64, 64)
                memory[at:at + 64] = self.random.randbytes(64)
        self.ring()

    def plausible(self):
        """64-byte slots with valid types, small slots and laps, and wild numbers."""
        for memory in self.maps:
            for at in range(0, len(memory) - 64, 64):
                memory[at:at + 64] = struct.pack(
                    "<BBHIIIQQQQQII", self.random.randrange(16), self.random.randrange(256), 0,
                    self.random.randrange(4), self.random.randrange(3), self.random.randrange(100),
                    self.wild(), self.wild(), self.wild(), self.wild(), self.wild(), 1,
                    self.random.choice((1, 1, 1, 2, 3)))
        self.ring()

    def wild(self):
        return self.random.choice((0, 1, 4096, 1 << 20, (1 << 63) - 1, (1 << 64) - 1, 1 << 32,
                                   self.random.getrandbits(64), self.random.getrandbits(31)))


@test(timeout_s=120, pno_only=True)
def hostile_tenant(context):
    """One tenant's shared memory is overwritten again and again; another is served without fault."""
    lab = context.up()
    redis = start_redis(lab)
    engine = lab.pnod_pid()
    failures, served, stop = [], [0], threading.Event()

    def customer():
        try:
            with redis.client(timeout=5) as client:
                while not stop.is_set():
                    value = os.urandom(2000)
                    client.command("SET", "k", value)
                    require(client.command("GET", "k") == value, "a wrong value")
                    served[0] += 1
        except (OSError, RedisError, Failure) as error:
            failures.append(f"{type(error).__name__}: {error}")
    thread = threading.Thread(target=customer, daemon=True)
    thread.start()
    for seed in range(9):
        before = served[0]
        torment_one_tenant(lab, seed)
        wait_until(lambda: served[0] > before + 20 or failures,
                   f"the other tenant is served after garbage of seed {seed}", 5)
        require(not failures, f"seed {seed}: the other tenant: {'; '.join(failures)}")
        require(lab.pnod_pid() == engine, f"seed {seed}: pnod is another")
    stop.set()
    thread.join(10)
    redis.program.stop()
    lab.assert_nothing_left()


def torment_one_tenant(lab, seed):
    """A redis of its own with live connections, whose memory is then overwritten."""
    port = 6500 + seed
    victim = start_redis(lab, port=port)
    clients = [victim.client() for _ in range(4)]
    for client in clients:
        client.command("SET", "k", "v" * 10000)
    vandal = Vandal(victim.pid, seed)
    for turn in range(6):
        (vandal.overwrite_somewhere, vandal.plausible, vandal.overwrite_all)[(seed + turn) % 3]()
        for client in clients:
            try:
                client.send("GET", "k")
            except OSError:
                pass
        time.sleep(0.05)
    victim.program.kill()
    for client in clients:
        client.close()


def connect_when_there_is_room(control, path):
    """A Unix socket refuses with EAGAIN for as long as its back-log is full."""
    def connected():
        try:
            control.connect(path)
            return True
        except BlockingIOError:
            return False
    wait_until(connected, "the control socket takes connections", 5)


@test(pno_only=True)
def garbage_on_control_socket(context):
    """Bytes that are neither a hello nor a request do not trouble the engine."""
    lab = context.up()
    redis = start_redis(lab)
    path = f"/run/pno/{lab.name}.sock"
    rng = random.Random(1)
    for turn in range(300):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(2)
            connect_when_there_is_room(control, path)
            garbage = rng.choice((b"", b"{", b"LNOP", b"PNOL", b'{"command":', b"\0"))
            try:
                control.sendall(garbage + rng.randbytes(rng.choice((0, 1, 70, 64, 5000)))
                                + b"\n" * (turn & 1))
            except OSError:
                pass
    with redis.client() as client:
        require(client.command("PING") == b"PONG", "redis is no longer served")
    redis.program.stop()
    lab.assert_nothing_left()
