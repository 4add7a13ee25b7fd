"""A cache with threads."""

import os
import socket
import threading

from harness.process import need_program, require, wait_until
from harness.registry import test

PORT = 11211


def read_until(connection, end):
    got = b""
    while not got.endswith(end):
        part = connection.recv(1 << 18)
        require(part, f"the connection ended after {len(got)} bytes")
        got += part
    return got


def start(lab):
    need_program("memcached")
    server = lab.start_host("memcached", ["memcached", "-u", "root", "-p", str(PORT), "-U", "0", "-t",
                                          "4", "-I", "8m", "-m", "256"])
    lab.wait_listening(server, PORT)
    return server


@test()
def memcached_set_get(context):
    lab = context.up()
    start(lab)
    connections = [lab.connect(PORT) for _ in range(16)]
    for turn, size in enumerate((1, 100, 1400, 9000, 100_000, 1_000_000)):
        for number, connection in enumerate(connections):
            value = os.urandom(size)
            key = b"k%d-%d" % (number, turn)
            connection.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, size, value))
            require(read_until(connection, b"\r\n") == b"STORED\r\n", f"set of {size} bytes")
            other = connections[(number + 1) % len(connections)]
            other.sendall(b"get %s\r\n" % key)
            wanted = b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, size, value)
            got = b""
            while len(got) < len(wanted):
                part = other.recv(1 << 18)
                require(part, "the connection ended")
                got += part
            require(got == wanted, f"get of {size} bytes differs")
    for connection in connections:
        connection.shutdown(socket.SHUT_WR)
        require(connection.recv(1) == b"", "no end of stream after half-closing")
        connection.close()


class Customers:
    """Clients, one for each of several threads, that set, append, increment and read back until told
    to stop."""

    def __init__(self, lab, count=8):
        self._lab = lab
        self._stop = threading.Event()
        self.failures = []
        self.turns = [0] * count
        self._threads = [threading.Thread(target=self._work, args=(i,), daemon=True)
                         for i in range(count)]

    def _ask(self, connection, request, wanted):
        connection.sendall(request)
        got = b""
        while len(got) < len(wanted):
            part = connection.recv(1 << 18)
            require(part, "the connection ended")
            got += part
        require(got == wanted, f"{request[:30]!r} was answered otherwise")

    def _work(self, number):
        key = b"c%d" % number
        try:
            with self._lab.connect(PORT, timeout=20) as connection:
                while not self._stop.is_set():
                    turn = self.turns[number]
                    value = os.urandom(1 + turn * 97 % 20_000)
                    self._ask(connection, b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value),
                              b"STORED\r\n")
                    self._ask(connection, b"append %s 0 0 3\r\nend\r\n" % key, b"STORED\r\n")
                    self._ask(connection, b"get %s\r\n" % key, b"VALUE %s 0 %d\r\n%send\r\nEND\r\n"
                              % (key, len(value) + 3, value))
                    self._ask(connection, b"set n%s 0 0 %d\r\n%d\r\nincr n%s 1\r\n"
                              % (key, len(b"%d" % turn), turn, key), b"STORED\r\n%d\r\n" % (turn + 1))
                    self.turns[number] += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(f"client {number}: {type(error).__name__}: {error}")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(25)

    def wait_progress(self, turns=50):
        goal = [done + turns for done in self.turns]
        wait_until(lambda: self.failures or all(d >= g for d, g in zip(self.turns, goal)),
                   "progress under load", 40)
        require(not self.failures, "; ".join(self.failures[:2]))


@test(timeout_s=90)
def memcached_threads_under_load(context):
    """Four threads, eight clients; then kill -9 with connections open, and another in its place."""
    lab = context.up()
    server = start(lab)
    with Customers(lab) as customers:
        customers.wait_progress()
    with lab.connect(PORT) as idle:
        idle.sendall(b"version\r\n")
        require(read_until(idle, b"\r\n").startswith(b"VERSION"), "no version")
        server.kill()
        try:
            require(idle.recv(1) == b"", "bytes from nowhere")
        except ConnectionResetError:
            pass
    lab.assert_nothing_left()
    start(lab)
    with Customers(lab) as customers:
        customers.wait_progress(10)
