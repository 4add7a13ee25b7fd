"""Web servers, a proxy, a cache: one exchange each, bytes compared.

A beginning of what a later issue makes work in full; `--no-later` leaves them out.
"""

import hashlib
import os
import socket

from harness.lab import CLIENT_V4, HOST_V4
from harness.process import need_program, require
from harness.registry import test

PORT = 8080
SIZES = (0, 1, 1024, 16384, 262144, 5_000_000)


def make_site(lab):
    """Files of several sizes, readable by whichever user the server becomes; {name: checksum}."""
    folder = os.path.join(lab.folder, "site")
    os.makedirs(folder)
    sums = {}
    for size in SIZES:
        content = os.urandom(size)
        name = f"f{size}"
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
        sums[name] = hashlib.sha256(content).hexdigest()
    for path in (os.path.dirname(lab.folder), lab.folder, folder):
        os.chmod(path, 0o755)
    return folder, sums


def write_config(lab, name, text):
    path = os.path.join(lab.folder, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def fetch_all(lab, sums, rounds=3):
    """Every file, several over one connection, by curl from the client's end."""
    for _ in range(rounds):
        for name, digest in sums.items():
            done = lab.run_client(["curl", "-sSf", "--max-time", "15",
                                   f"http://{HOST_V4}:{PORT}/{name}"], timeout_s=20)
            require(hashlib.sha256(done.stdout).hexdigest() == digest,
                    f"{name}: {len(done.stdout)} other bytes came")
    out = os.path.join(lab.folder, "fetched")
    os.makedirs(out, exist_ok=True)
    words = ["curl", "-sSf", "--max-time", "20"]
    for name in sums:
        words += ["-o", os.path.join(out, name), f"http://{HOST_V4}:{PORT}/{name}"]
    lab.run_client(words, timeout_s=25)
    for name, digest in sums.items():
        with open(os.path.join(out, name), "rb") as file:
            require(hashlib.sha256(file.read()).hexdigest() == digest,
                    f"{name} differs on a kept-alive connection")


@test()
def lighttpd_serves(context):
    need_program("lighttpd")
    lab = context.up()
    folder, sums = make_site(lab)
    config = write_config(lab, "lighttpd.conf", f"""
server.document-root = "{folder}"
server.port = {PORT}
""")
    server = lab.start_host("lighttpd", ["lighttpd", "-D", "-f", config])
    lab.wait_listening(server, PORT)
    fetch_all(lab, sums)
    server.stop()
    lab.assert_nothing_left()


@test()
def nginx_serves(context):
    need_program("nginx")
    lab = context.up()
    folder, sums = make_site(lab)
    config = write_config(lab, "nginx.conf", f"""
daemon off;
worker_processes 2;
pid {lab.folder}/nginx.pid;
error_log {lab.folder}/nginx-error.log;
events {{ }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {lab.folder}/body;
    proxy_temp_path {lab.folder}/proxy;
    fastcgi_temp_path {lab.folder}/fastcgi;
    uwsgi_temp_path {lab.folder}/uwsgi;
    scgi_temp_path {lab.folder}/scgi;
    server {{ listen {PORT}; root {folder}; }}
}}
""")
    server = lab.start_host("nginx", ["nginx", "-c", config, "-e", f"{lab.folder}/nginx-start.log"])
    lab.wait_listening(server, PORT)
    fetch_all(lab, sums)
    server.stop()
    lab.assert_nothing_left()


@test()
def haproxy_proxies(context):
    """haproxy is offloaded on both sides; its server is on kernel TCP."""
    need_program("haproxy")
    lab = context.up()
    folder, sums = make_site(lab)
    backend = lab.start_client("backend", ["/usr/bin/python3", "-m", "http.server", "8001",
                                           "--directory", folder])
    lab.wait_listening(backend, 8001, "127.0.0.1")
    config = write_config(lab, "haproxy.cfg", f"""
global
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend wire
    bind :{PORT}
    default_backend files
backend files
    server one {CLIENT_V4}:8001
""")
    proxy = lab.start_host("haproxy", ["haproxy", "-db", "-f", config])
    lab.wait_listening(proxy, PORT)
    fetch_all(lab, sums, rounds=2)
    proxy.stop()
    lab.assert_nothing_left()


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
