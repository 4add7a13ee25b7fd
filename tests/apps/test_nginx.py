"""nginx: four workers, TLS, proxying, reuseport, reload and binary upgrade under load, death."""

import os
import signal

from harness import web
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import need_program, require, wait_until
from harness.registry import test
from harness.web import PORT, TLS_PORT, Load, Site, curl, fetch_all, write_config

NGINX = "/usr/sbin/nginx"  # by its full path, or it could not start itself again


class Nginx:
    """A master with its workers, in the foreground unless it is to be a daemon."""

    def __init__(self, lab, site, listen=f"listen {PORT};", locations="", http="", daemon="off"):
        need_program("nginx")
        self.lab = lab
        self.pid_path = os.path.join(lab.folder, "nginx.pid")
        config = write_config(lab, "nginx.conf", f"""
daemon {daemon};
user root;
worker_processes 4;
pid {self.pid_path};
error_log {lab.folder}/nginx-error.log;
worker_shutdown_timeout 20s;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 100m;
    client_body_temp_path {lab.folder}/body;
    proxy_temp_path {lab.folder}/proxy;
    fastcgi_temp_path {lab.folder}/fastcgi;
    uwsgi_temp_path {lab.folder}/uwsgi;
    scgi_temp_path {lab.folder}/scgi;
    {http}
    server {{ {listen} root {site.folder}; {locations} }}
}}
""")
        argv = [NGINX, "-c", config, "-e", f"{lab.folder}/nginx-start.log"]
        if daemon == "on":
            lab.run_host(argv, True)
            lab.wait_reachable("nginx", PORT)
        else:
            self.program = lab.start_host("nginx", argv)
            lab.wait_listening(self.program, PORT)

    def master(self):
        def read():
            try:
                with open(self.pid_path, encoding="ascii") as file:
                    return int(file.read() or 0)
            except FileNotFoundError:
                return None
        return wait_until(read, "nginx writes its process id")

    def workers(self, master=None):
        pid = master or self.master()
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]

    def signal(self, number):
        os.kill(self.master(), number)


@test(timeout_s=90)
def nginx_serves(context):
    """Four workers, each of them at work, and what one has ended another goes on with: files to 30 MB,
    by curl, wrk and ab."""
    lab = context.up()
    site = Site(lab, sizes=(*web.SIZES, 30_000_000))
    nginx = Nginx(lab, site)
    wait_until(lambda: len(nginx.workers()) == 4, "four workers")
    fetch_all(lab, site)
    web.run_wrk(lab, f"http://{HOST_V4}:{PORT}/f1024")
    web.run_ab(lab, f"http://{HOST_V4}:{PORT}/f16384", 16384, requests=500, keep_alive=False)
    with Load(lab, site, clients=6) as load:
        load.wait_progress(250, timeout_s=60)
    load.check()


@test(timeout_s=90)
def nginx_reuseport(context):
    """A listener for each worker; a reload keeps them, and so all requests."""
    lab = context.up()
    site = Site(lab)
    nginx = Nginx(lab, site, listen=f"listen {PORT} reuseport;")
    fetch_all(lab, site, rounds=1)
    check_reloads(nginx, lab, site)


def check_reloads(nginx, lab, site, **load_options):
    with Load(lab, site, **load_options) as load:
        load.wait_progress()
        for _ in range(3):
            before = set(nginx.workers())
            nginx.signal(signal.SIGHUP)
            load.wait_progress(10)
            wait_until(lambda old=before: not old & set(nginx.workers()) or load.failures,
                       "other workers after the reload", 30)
            load.check()
            wait_until(lambda: len(nginx.workers()) == 4, "four workers after a reload", 30)
    load.check()
    fetch_all(lab, site, rounds=1)


@test(timeout_s=90)
def nginx_reloads_under_load(context):
    lab = context.up()
    site = Site(lab)
    check_reloads(Nginx(lab, site), lab, site)


@test(timeout_s=90)
def nginx_binary_upgrade(context):
    """A new nginx takes over the listeners of the old by exec while both are asked, as
    nginx.org/en/docs/control.html tells; the old one goes without a request lost."""
    lab = context.up()
    site = Site(lab)
    nginx = Nginx(lab, site, daemon="on")
    with Load(lab, site) as load:
        load.wait_progress()
        old = nginx.master()
        os.kill(old, signal.SIGUSR2)
        wait_until(lambda: os.path.exists(f"{nginx.pid_path}.oldbin") and
                   os.path.exists(nginx.pid_path) and nginx.master() != old, "a new master", 20)
        new = nginx.master()
        wait_until(lambda: len(nginx.workers(new)) == 4, "the new master's workers", 20)
        load.wait_progress(10)
        os.kill(old, signal.SIGWINCH)
        wait_until(lambda: not set(nginx.workers(old)) - {new} or load.failures,
                   "the old workers end", 30)
        load.wait_progress(10)
        os.kill(old, signal.SIGQUIT)
        wait_until(lambda: not os.path.exists(f"/proc/{old}"), "the old master ends", 20)
        load.wait_progress(10)
    load.check()
    fetch_all(lab, site, rounds=1)
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f"/proc/{new}"), "the new master ends", 20)


@test(timeout_s=90)
def nginx_tls(context):
    """TLS 1.2 and 1.3, kept-alive and not, and a reload under load."""
    lab = context.up()
    site = Site(lab)
    certificate, key = web.make_certificate(lab)
    nginx = Nginx(lab, site, listen=f"listen {PORT}; listen {TLS_PORT} ssl;", http=f"""
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;""")
    base = f"https://{HOST_V4}:{TLS_PORT}"
    for version in ("--tlsv1.3", "--tls-max 1.2"):
        fetch_all(lab, site, rounds=1, base=base,
                  options=["--cacert", certificate, *version.split()])
    check_reloads(nginx, lab, site, port=TLS_PORT, certificate=certificate)


@test(timeout_s=90)
def nginx_proxies(context):
    """To a server on kernel TCP at the far end, and to one of its own at an address of the engine's."""
    lab = context.up()
    site = Site(lab)
    backend = lab.start_client("backend", ["/usr/bin/python3", "-m", "http.server", "8001",
                                           "--directory", site.folder])
    lab.wait_listening(backend, 8001, "127.0.0.1")
    Nginx(lab, site, http=f"""
    upstream far {{ server {CLIENT_V4}:8001; }}
    upstream near {{ server {HOST_V4}:8090; keepalive 8; }}
    server {{ listen 8090; root {site.folder}; }}""", locations="""
    location /far/ { proxy_pass http://far/; }
    location /near/ { proxy_pass http://near/; proxy_http_version 1.1; proxy_set_header Connection ""; }""")
    for where in ("far", "near"):
        fetch_all(lab, site, rounds=1, base=f"http://{HOST_V4}:{PORT}/{where}")
    for name in list(site.sums):
        for where in ("far", "near"):
            site.expect(f"{where}/{name}", site.sums[name], site.sizes[name])
    with Load(lab, site) as load:
        load.wait_progress(15)
    load.check()


@test(timeout_s=90)
def nginx_killed(context):
    """kill -9 of a worker under load (the master starts another), then of all."""
    lab = context.up()
    site = Site(lab)
    nginx = Nginx(lab, site)
    victim = wait_until(lambda: len(w := nginx.workers()) == 4 and w[0], "four workers")
    with lab.connect(PORT) as idle:
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(w := nginx.workers()) == 4 and victim not in w, "another worker")
        fetch_all(lab, site, rounds=1)
        with Load(lab, site) as load:
            load.wait_progress()
        load.check()
        workers = nginx.workers()
        nginx.program.kill()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        try:
            require(idle.recv(1) == b"", "bytes from nowhere")
        except ConnectionResetError:
            pass
    lab.assert_nothing_left()
    os.unlink(nginx.pid_path)
    again = Nginx(lab, site)
    site.check("f5000000", curl(lab, [f"http://{HOST_V4}:{PORT}/f5000000"]))
    again.signal(signal.SIGQUIT)
    wait_until(lambda: not again.program.alive(), "nginx quits")
