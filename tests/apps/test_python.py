"""Python's servers: threads, asyncio, processes that share a listener and that pass connections."""

import os
import signal

from harness.lab import HOST_V4
from harness.process import require, wait_until
from harness.registry import test
from harness.web import PORT, Load, Site, fetch_all

PYTHON = "/usr/bin/python3"


def start(lab, name, text, *words):
    path = os.path.join(lab.folder, f"{name}_server.py")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    server = lab.start_host(name, [PYTHON, path, *words])
    lab.wait_listening(server, PORT)
    return server


def receive(connection, length):
    got = b""
    while len(got) < length:
        part = connection.recv(1 << 18)
        require(part, f"the connection ended after {len(got)} of {length} bytes")
        got += part
    return got


def check_echo(lab, sizes=(1, 1460, 70_000, 1_000_000), connections=1):
    """What is sent comes back, and the total after the client has half-closed."""
    for size in sizes:
        open_now = [lab.connect(PORT) for _ in range(connections)]
        for number, connection in enumerate(open_now):
            sent = os.urandom(size)
            got = b""
            for start_at in range(0, size, 50_000):
                part = sent[start_at:start_at + 50_000]
                connection.sendall(part)
                got += receive(connection, len(part))
            connection.shutdown(1)
            while more := connection.recv(1000):
                got += more
            require(got == sent + b"total %d" % size, f"echo {number} of {size} bytes differs")
            connection.close()


# An echo, with a total when the client has half-closed.
ASYNCIO_SERVER = """
import asyncio
async def echo(reader, writer):
    total = 0
    while data := await reader.read(65536):
        total += len(data)
        writer.write(data)
        await writer.drain()
    writer.write(b"total %d" % total)
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "0.0.0.0", 8080)
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""

# The same with a thread for each connection.
THREADING_SERVER = """
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        total = 0
        while data := self.request.recv(65536):
            total += len(data)
            self.request.sendall(data)
        self.wfile.write(b"total %d" % total)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
Server(("0.0.0.0", 8080), Echo).serve_forever()
"""

# Four processes that accept from one listener; the parent waits for them.
PREFORK_SERVER = """
import multiprocessing, signal, socket, sys
def echo(connection):
    total = 0
    while data := connection.recv(65536):
        total += len(data)
        connection.sendall(data)
    connection.sendall(b"total %d" % total)
    connection.close()
def work(listener):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        echo(listener.accept()[0])
if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    listener = socket.create_server(("0.0.0.0", 8080), backlog=64)
    workers = [multiprocessing.Process(target=work, args=(listener,)) for _ in range(4)]
    def end(*_):
        for worker in workers: worker.terminate()
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    for worker in workers: worker.start()
    for worker in workers: worker.join()
"""

# The parent accepts and sends each connection to a worker (by SCM_RIGHTS); the start method is an
# argument.
PASSING_SERVER = """
import multiprocessing, signal, socket, sys
def work(pipe):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        connection = pipe.recv()
        total = 0
        while data := connection.recv(65536):
            total += len(data)
            connection.sendall(data)
        connection.sendall(b"total %d" % total)
        connection.close()
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    pipes = []
    for _ in range(2):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(theirs,), daemon=True).start()
        pipes.append(ours)
    listener = socket.create_server(("0.0.0.0", 8080), backlog=64)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        connection, _ = listener.accept()
        pipes.append(pipes.pop(0))
        pipes[0].send(connection)
        connection.close()
"""

# multiprocessing's own connections, over TCP, both ends offloaded.
CONNECTION_PROGRAM = """
import hashlib, os, sys, threading
from multiprocessing.connection import Client, Listener
listener = Listener((sys.argv[1], 9300), authkey=b"key", backlog=8)
def serve():
    for _ in range(10):
        with listener.accept() as connection:
            for _ in range(5): connection.send(hashlib.sha256(connection.recv_bytes()).hexdigest())
thread = threading.Thread(target=serve)
thread.start()
for turn in range(10):
    with Client((sys.argv[1], 9300), authkey=b"key") as connection:
        for size in (0, 1, 1000, 100_000, 3_000_000):
            data = os.urandom(size)
            connection.send_bytes(data)
            assert connection.recv() == hashlib.sha256(data).hexdigest(), size
thread.join()
print("all the same")
"""


@test()
def asyncio_echo(context):
    """Bytes come back, and an answer still comes after the client has half-closed."""
    lab = context.up()
    start(lab, "asyncio", ASYNCIO_SERVER)
    check_echo(lab, connections=5)


@test()
def python_threading(context):
    lab = context.up()
    server = start(lab, "threading", THREADING_SERVER)
    check_echo(lab, connections=20)
    with lab.connect(PORT) as connection:
        connection.sendall(b"x")
        require(connection.recv(1) == b"x", "no echo")
        server.kill()
        try:
            require(connection.recv(1) == b"", "bytes from nowhere")
        except ConnectionResetError:
            pass


@test()
def python_prefork(context):
    """Four processes accept from one listener; one of them is killed."""
    lab = context.up()
    server = start(lab, "prefork", PREFORK_SERVER)
    check_echo(lab, connections=4)
    with open(f"/proc/{server.pid}/task/{server.pid}/children", encoding="ascii") as file:
        os.kill(int(file.read().split()[0]), signal.SIGKILL)
    for _ in range(10):
        check_echo(lab, sizes=(1000,), connections=3)


@test(timeout_s=90)
def python_passes_connections(context):
    """Accepted connections go to other processes over Unix sockets, by fork and by spawn."""
    lab = context.up()
    for how in ("fork", "spawn"):
        server = start(lab, f"passing-{how}", PASSING_SERVER, how)
        check_echo(lab, sizes=(1, 70_000), connections=2)
        for _ in range(10):
            check_echo(lab, sizes=(1000,), connections=2)
        server.stop()
        lab.assert_nothing_left()


@test(timeout_s=90)
def python_connections(context):
    """multiprocessing.connection over TCP, both ends in one program."""
    lab = context.up()
    said = lab.run_host([PYTHON, "-c", CONNECTION_PROGRAM, HOST_V4], timeout_s=60).stdout
    require(said == b"all the same\n", f"it said {said!r}")


@test(timeout_s=90)
def python_http_under_load(context):
    """python3 -m http.server, a thread for each connection."""
    lab = context.up()
    site = Site(lab)
    server = lab.start_host("http", [PYTHON, "-m", "http.server", str(PORT), "--directory", site.folder])
    lab.wait_listening(server, PORT)
    fetch_all(lab, site, rounds=1)
    with Load(lab, site) as load:
        load.wait_progress(15, timeout_s=60)
    load.check()
    wait_until(server.alive, "the server goes on")
