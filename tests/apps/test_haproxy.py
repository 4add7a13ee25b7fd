"""HAProxy: two threads, HTTP and TCP mode, splice, hitless reload, soft stop, death; and chained with
lighttpd."""

import os
import signal

from harness import web
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import catches, need_program, require, wait_until
from harness.registry import test
from harness.web import PORT, Load, Site, curl, fetch_all, write_config

BACKEND_PORT = 8090

# Without it HAProxy's soft stop closes a connection whose answer is complete in HAProxy's own buffer
# and waits there for the socket to have room: the answer's last 16 KB are lost, over kernel TCP too
# (mux_h1.c, h1_process(): in 2.6 as in the development version of August 2026).
KEEPS_ANSWERS_AT_STOP = "option idle-close-on-response"


class HAProxy:
    """HAProxy on the host, in front of one server."""

    def __init__(self, lab, server, mode="http", extra="", argv=("-db",)):
        need_program("haproxy")
        self.lab = lab
        self.socket = os.path.join(lab.folder, "haproxy.sock")
        self.config = write_config(lab, "haproxy.cfg", f"""
global
    nbthread 2
    hard-stop-after 30s
    stats socket {self.socket} mode 600 level admin expose-fd listeners
defaults
    mode {mode}
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    {extra}
frontend wire
    bind :{PORT}
    default_backend servers
backend servers
    server one {server}
""")
        self.program = self.start(argv)

    def start(self, argv):
        program = self.lab.start_host("haproxy", ["/usr/sbin/haproxy", *argv, "-f", self.config])
        self.lab.wait_listening(program, PORT)
        return program


def start_lighttpd(lab, site, where):
    """The server behind: 'client' (kernel TCP at the far end), 'host' (offloaded), 'lo' (the host's
    kernel, on its loopback)."""
    need_program("lighttpd")
    address = {"client": CLIENT_V4, "host": HOST_V4, "lo": "127.0.0.1"}[where]
    config = write_config(lab, "behind.conf", f"""
server.document-root = "{site.folder}"
server.port = {BACKEND_PORT}
server.bind = "{address}"
""")
    argv = ["lighttpd", "-D", "-f", config]
    if where == "client":
        server = lab.start_client("lighttpd", argv)
        lab.wait_listening(server, BACKEND_PORT, CLIENT_V4)
    else:
        server = lab.start_host("lighttpd", argv, offload=where == "host")
        wait_until(lambda: curl(lab, [f"http://{address}:{BACKEND_PORT}/f1"], where == "host",
                                options=["--retry", "10", "--retry-connrefused"]),
                   "lighttpd answers the host", 20)
    return f"{address}:{BACKEND_PORT}"


def check_proxy(lab, site, progress=15):
    fetch_all(lab, site, rounds=1)
    web.run_wrk(lab, f"http://{HOST_V4}:{PORT}/f1024")
    with Load(lab, site) as load:
        load.wait_progress(progress, timeout_s=60)
    load.check()


@test(timeout_s=90)
def haproxy_http(context):
    lab = context.up()
    site = Site(lab)
    HAProxy(lab, start_lighttpd(lab, site, "client"))
    check_proxy(lab, site)
    web.run_ab(lab, f"http://{HOST_V4}:{PORT}/f16384", 16384, requests=500, keep_alive=False)


@test(timeout_s=90)
def haproxy_tcp(context):
    lab = context.up()
    site = Site(lab)
    HAProxy(lab, start_lighttpd(lab, site, "client"), mode="tcp")
    check_proxy(lab, site)


@test(timeout_s=90)
def haproxy_splice(context):
    """Bytes go from socket to pipe to socket by splice(), in both modes; 50 MB."""
    lab = context.up()
    size = 50_000_000
    site = Site(lab, sizes=(1, 1024, 262144, size))
    server = start_lighttpd(lab, site, "client")
    for mode in ("tcp", "http"):
        proxy = HAProxy(lab, server, mode=mode, extra="option splice-request\n    option splice-response")
        check_proxy(lab, site, progress=5)
        proxy.program.stop()


@test(timeout_s=120)
def haproxy_chained_offloaded(context):
    """A client on kernel TCP, HAProxy and lighttpd both offloaded on one engine."""
    lab = context.up()
    site = Site(lab)
    HAProxy(lab, start_lighttpd(lab, site, "host"))
    check_proxy(lab, site)
    web.run_wrk(lab, f"http://{HOST_V4}:{PORT}/f262144", connections=10)


@test(timeout_s=120)
def haproxy_chained_loopback(context):
    """HAProxy is offloaded, lighttpd on the host's kernel loopback."""
    lab = context.up()
    site = Site(lab)
    HAProxy(lab, start_lighttpd(lab, site, "lo"))
    check_proxy(lab, site)
    web.run_wrk(lab, f"http://{HOST_V4}:{PORT}/f262144", connections=10)


@test(timeout_s=120)
def haproxy_reload_hitless(context):
    """A new process gets the listeners by SCM_RIGHTS from the old one (-x) and tells it to finish
    (-sf): three times, with no request lost."""
    lab = context.up()
    site = Site(lab)
    proxy = HAProxy(lab, start_lighttpd(lab, site, "client"), extra=KEEPS_ANSWERS_AT_STOP)
    with Load(lab, site) as load:
        load.wait_progress()
        for _ in range(3):
            before = proxy.program
            proxy.program = proxy.start(["-db", "-x", proxy.socket, "-sf", str(before.pid)])
            load.wait_progress(10)
            wait_until(lambda old=before: not old.alive() or load.failures, "the old process ends", 40)
            load.check()
    load.check()
    fetch_all(lab, site, rounds=1)


@test(timeout_s=120)
def haproxy_reload_master(context):
    """Master and worker (-W): SIGUSR2 has a new worker take over the listeners."""
    lab = context.up()
    site = Site(lab)
    proxy = HAProxy(lab, start_lighttpd(lab, site, "client"), extra=KEEPS_ANSWERS_AT_STOP,
                    argv=("-W", "-db"))

    def workers():
        with open(f"/proc/{proxy.program.pid}/task/{proxy.program.pid}/children",
                  encoding="ascii") as file:
            return set(file.read().split())
    with Load(lab, site) as load:
        load.wait_progress()
        for _ in range(3):
            before = workers()
            # While it starts, and executes itself once more, it ignores the signal.
            wait_until(lambda: catches(proxy.program.pid, signal.SIGUSR2), "the master is ready", 30)
            os.kill(proxy.program.pid, signal.SIGUSR2)
            wait_until(lambda old=before: workers() - old or load.failures, "another worker", 30)
            load.wait_progress(10)
            wait_until(lambda old=before: not workers() & old or load.failures, "the old worker ends",
                       40)
            load.check()
    load.check()
    fetch_all(lab, site, rounds=1)


@test(timeout_s=90)
def haproxy_stops_and_dies(context):
    """SIGUSR1 lets what is under way finish; kill -9 gives everything back."""
    lab = context.up()
    site = Site(lab, sizes=(1, 20_000_000))
    server = start_lighttpd(lab, site, "client")
    proxy = HAProxy(lab, server, extra=KEEPS_ANSWERS_AT_STOP)
    name = "f20000000"
    with lab.connect(PORT) as slow:
        slow.sendall(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
        got = slow.recv(1000)
        os.kill(proxy.program.pid, signal.SIGUSR1)

        lab.wait_refused(PORT, "the port is refused after SIGUSR1")
        while part := slow.recv(1 << 18):
            got += part
    site.check(name, got.partition(b"\r\n\r\n")[2], " while stopping")
    wait_until(lambda: not proxy.program.alive(), "haproxy ends")
    proxy = HAProxy(lab, server)
    clients = [lab.connect(PORT) for _ in range(8)]
    for client in clients:
        client.sendall(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        require(client.recv(1000).startswith(b"HTTP/1.1 200"), "no answer")
    proxy.program.kill()
    for client in clients:
        try:
            while client.recv(1 << 18):
                pass
        except ConnectionResetError:
            pass
        client.close()
    lab.assert_nothing_left()
