"""A cache with threads."""

import hashlib
import os
import socket

from harness.lab import CLIENT_V4, HOST_V4
from harness.process import need_program, require
from harness.registry import test

PORT = 8080
SIZES = (0, 1, 1024, 16384, 262144, 5_000_000)


def read_until(connection, end):
    got = b""
    while not got.endswith(end):
        part = connection.recv(1 << 18)
        require(part, f"the connection ended after {len(got)} bytes")
        got += part
    return got


@test()
def memcached_set_get(context):
    need_program("memcached")
    lab = context.up()
    server = lab.start_host("memcached", ["memcached", "-u", "root", "-p", "11211", "-U", "0", "-t",
                                          "4", "-I", "8m", "-m", "256"])
    lab.wait_listening(server, 11211)
    connections = [lab.connect(11211) for _ in range(16)]
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
    server.stop()
    lab.assert_nothing_left()


# A server of the asyncio kind: echo, with a half-closed connection at the end.
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


@test()
def asyncio_echo(context):
    """Bytes come back, and an answer still comes after the client has half-closed."""
    lab = context.up()
    server = lab.start_host("asyncio", ["/usr/bin/python3", "-c", ASYNCIO_SERVER])
    lab.wait_listening(server, PORT)
    for size in (1, 1460, 70_000, 1_000_000):
        with lab.connect(PORT) as connection:
            sent = os.urandom(size)
            got = b""
            for start in range(0, size, 50_000):
                part = sent[start:start + 50_000]
                connection.sendall(part)
                while len(got) < start + len(part):
                    more = connection.recv(1 << 18)
                    require(more, "the echo ended early")
                    got += more
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(1000):
                got += more
            require(got == sent + b"total %d" % size, f"an echo of {size} bytes differs")
