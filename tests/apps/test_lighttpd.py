"""lighttpd: one process and forked workers, FastCGI over TCP, files to 100 MB, restart and death
under load."""

import hashlib
import os
import signal

from harness import netns, web
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import need_program, require, wait_until
from harness.registry import test
from harness.web import PORT, Load, Site, curl, fetch_all, write_config

HUNDRED_MEGABYTES = 100 << 20
FASTCGI_PORT = 9001


def start(lab, site, extra="", name="lighttpd.conf"):
    need_program("lighttpd")
    config = write_config(lab, name, f"""
server.document-root = "{site.folder}"
server.port = {PORT}
server.pid-file = "{lab.folder}/lighttpd.pid"
server.feature-flags += ( "server.graceful-restart-bg" => "disable" )
{extra}
""")
    server = lab.start_host("lighttpd", ["lighttpd", "-D", "-f", config])
    lab.wait_listening(server, PORT)
    return server


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


@test()
def lighttpd_serves(context):
    lab = context.up()
    site = Site(lab)
    start(lab, site)
    fetch_all(lab, site)
    web.run_ab(lab, f"http://{HOST_V4}:{PORT}/f1024", 1024)
    web.run_ab(lab, f"http://{HOST_V4}:{PORT}/f16384", 16384, requests=500, keep_alive=False)


@test(timeout_s=120)
def lighttpd_big_files(context):
    """100 MB whole, in ranges, and to a client that leaves in the middle; several at once."""
    lab = context.up()
    site = Site(lab, sizes=(HUNDRED_MEGABYTES,))
    name = f"f{HUNDRED_MEGABYTES}"
    start(lab, site)
    url = f"http://{HOST_V4}:{PORT}/{name}"
    site.check(name, curl(lab, [url]))
    with open(os.path.join(site.folder, name), "rb") as file:
        for first, last in ((0, 0), (1000, 70_000), (HUNDRED_MEGABYTES - 5_000_000, None)):
            file.seek(first)
            wanted = file.read() if last is None else file.read(last + 1 - first)
            got = curl(lab, [url], options=["-r", f"{first}-{'' if last is None else last}"])
            require(got == wanted, f"range {first}-{last}: {len(got)} other bytes")
    for _ in range(3):
        with lab.connect(PORT) as connection:
            connection.sendall(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            require(len(connection.recv(100_000)) > 0, "nothing comes")
    with Load(lab, site, clients=3, names=[name]) as load:
        load.wait_progress(1, timeout_s=60)
    load.check()


@test(timeout_s=90)
def lighttpd_workers(context):
    """Two forked workers share the listener; one is killed under load and replaced."""
    lab = context.up()
    site = Site(lab)
    server = start(lab, site, "server.max-worker = 2")
    fetch_all(lab, site, rounds=1)
    workers = wait_until(lambda: len(c := children(server.pid)) == 2 and c, "two workers")
    web.run_wrk(lab, f"http://{HOST_V4}:{PORT}/f1024")
    with Load(lab, site) as load:
        load.wait_progress()
    load.check()
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: len(c := children(server.pid)) == 2 and workers[0] not in c,
               "another worker in the place of the one killed")
    with Load(lab, site) as load:
        load.wait_progress()
    load.check()
    fetch_all(lab, site, rounds=1)


@test(timeout_s=90)
def lighttpd_restarts_under_load(context):
    """SIGUSR1 reads the configuration again and keeps the listener: no request is refused."""
    lab = context.up()
    site = Site(lab)
    server = start(lab, site)
    with Load(lab, site) as load:
        load.wait_progress()
        for _ in range(3):
            os.kill(server.pid, signal.SIGUSR1)
            load.wait_progress(20)
    load.check()
    require(server.alive(), "lighttpd ended at SIGUSR1")
    fetch_all(lab, site, rounds=1)


@test(timeout_s=90)
def lighttpd_stops_under_load(context):
    """SIGINT lets the answers under way come to their end; the port is refused at once."""
    lab = context.up()
    site = Site(lab)
    server = start(lab, site)
    name = "f5000000"
    with lab.connect(PORT) as slow:
        slow.sendall(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
        got = slow.recv(1000)
        os.kill(server.pid, signal.SIGINT)

        lab.wait_refused(PORT, "the port is refused after SIGINT")
        while part := slow.recv(1 << 18):
            got += part
    site.check(name, got.partition(b"\r\n\r\n")[2], " while stopping")
    wait_until(lambda: not server.alive(), "lighttpd ends once it has answered")


@test(timeout_s=90)
def lighttpd_killed(context):
    """kill -9 of master and workers with answers under way: clients see the end, all is given back."""
    lab = context.up()
    site = Site(lab, sizes=(HUNDRED_MEGABYTES,))
    server = start(lab, site, "server.max-worker = 2")
    clients = [lab.connect(PORT) for _ in range(8)]
    for client in clients:
        client.sendall(f"GET /f{HUNDRED_MEGABYTES} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        require(client.recv(1000).startswith(b"HTTP/1.1 200"), "no answer")
    workers = children(server.pid)
    server.kill()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for client in clients:
        total = 0
        try:
            while part := client.recv(1 << 18):
                total += len(part)
        except ConnectionResetError:
            pass
        require(total < HUNDRED_MEGABYTES, "all came from a server that was killed")
        client.close()
    lab.assert_nothing_left()
    start(lab, site, name="again.conf")
    site.check(f"f{HUNDRED_MEGABYTES}", curl(lab, [f"http://{HOST_V4}:{PORT}/f{HUNDRED_MEGABYTES}"]))


def check_fastcgi(lab, backend_address, responder):
    """GET and POST of several sizes, alone and at once, through lighttpd to the responder."""
    site = Site(lab, sizes=(1024,))
    require(responder.alive(), "the responder ended")
    start(lab, site, f"""
server.modules += ( "mod_fastcgi" )
fastcgi.server = ( "/app" => (( "host" => "{backend_address}", "port" => {FASTCGI_PORT},
                                "check-local" => "disable" )))
""")
    url = f"http://{HOST_V4}:{PORT}/app"
    for size in (0, 1, 65528, 3_000_000):
        require(curl(lab, [f"{url}?{size}"]) == b"f" * size, f"GET of {size} bytes differs")
    for size in (1, 70_000, 3_000_000):
        body = os.urandom(size)
        path = os.path.join(lab.folder, "body")
        with open(path, "wb") as file:
            file.write(body)
        got = curl(lab, [url], options=["--data-binary", f"@{path}", "-H", "Expect:"])
        require(got == body + b" %d" % size, f"POST of {size} bytes: {len(got)} other bytes")
    site.expect("app?100000", hashlib.sha256(b"f" * 100_000).hexdigest(), 100_000)
    with Load(lab, site, names=["app?100000", "f1024"]) as load:
        load.wait_progress(10)
    load.check()


def start_responder(lab, address, at_client=False):
    argv = ["/usr/bin/python3", os.path.join(os.path.dirname(netns.__file__), "fastcgi.py"), address,
            str(FASTCGI_PORT)]
    responder = lab.start_client("fastcgi", argv) if at_client else lab.start_host("fastcgi", argv)
    lab.wait_listening(responder, FASTCGI_PORT, address)
    return responder


@test(timeout_s=90)
def lighttpd_fastcgi_offloaded(context):
    """The responder is offloaded too, at an address of the engine's own."""
    lab = context.up()
    check_fastcgi(lab, HOST_V4, start_responder(lab, HOST_V4))


@test(timeout_s=90)
def lighttpd_fastcgi_remote(context):
    """The responder is on kernel TCP at the far end of the wire."""
    lab = context.up()
    check_fastcgi(lab, CLIENT_V4, start_responder(lab, CLIENT_V4, at_client=True))
