"""make check-apps: Apache in its three models, h2load, gunicorn, stunnel, wget."""

import os
import signal

from harness import web
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import need_program, require, wait_until
from harness.registry import test
from harness.web import PORT, TLS_PORT, Load, Site, curl, fetch_all, write_config

APACHE_MODULES = "/usr/lib/apache2/modules"


def start_apache(lab, site, model):
    need_program("apache2")
    config = write_config(lab, f"apache-{model}.conf", f"""
ServerRoot {lab.folder}
ServerName {HOST_V4}
PidFile {lab.folder}/apache.pid
ErrorLog {lab.folder}/apache-error.log
Mutex file:{lab.folder} default
LoadModule mpm_{model}_module {APACHE_MODULES}/mod_mpm_{model}.so
LoadModule authz_core_module {APACHE_MODULES}/mod_authz_core.so
Listen {PORT}
DocumentRoot {site.folder}
KeepAlive On
MaxKeepAliveRequests 0
StartServers 3
GracefulShutdownTimeout 10
""")
    server = lab.start_host("apache2", ["/usr/sbin/apache2", "-f", config, "-DFOREGROUND"])
    lab.wait_listening(server, PORT, timeout_s=30)
    return server


def check_apache(context, model):
    """Files, load, two graceful reloads under it, kill -9 of a child."""
    lab = context.up()
    site = Site(lab)
    server = start_apache(lab, site, model)
    fetch_all(lab, site, rounds=1)
    web.run_ab(lab, f"http://{HOST_V4}:{PORT}/f16384", 16384, requests=500, keep_alive=False)
    with Load(lab, site) as load:
        load.wait_progress(10)
        for _ in range(2):
            os.kill(server.pid, signal.SIGUSR1)
            load.wait_progress(15)
    load.check()
    with open(f"/proc/{server.pid}/task/{server.pid}/children", encoding="ascii") as file:
        victim = int(file.read().split()[0])
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{victim}"), "the child is gone")
    wait_until(lambda: lab.run_client(["curl", "-sf", "--max-time", "3", "-o", "/dev/null",
                                       f"http://{HOST_V4}:{PORT}/f1"], check=False).returncode == 0,
               "apache answers after a child's death", 20)
    fetch_all(lab, site, rounds=1)


@test(timeout_s=120, extra=True)
def apache_prefork(context):
    check_apache(context, "prefork")


@test(timeout_s=120, extra=True)
def apache_worker(context):
    check_apache(context, "worker")


@test(timeout_s=120, extra=True)
def apache_event(context):
    check_apache(context, "event")


@test(timeout_s=90, extra=True)
def h2load_nginx(context):
    """HTTP/2 over TLS to an offloaded nginx, from kernel TCP, and to one on kernel TCP from h2load
    offloaded."""
    need_program("h2load")
    need_program("nginx")
    lab = context.up()
    site = Site(lab)
    certificate, key = web.make_certificate(lab)
    for at_client in (False, True):
        name = "client" if at_client else "host"
        config = write_config(lab, f"{name}.conf", f"""
daemon off;
user root;
worker_processes 2;
pid {lab.folder}/{name}.pid;
error_log {lab.folder}/{name}-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    server {{ listen {TLS_PORT} ssl http2; root {site.folder}; }}
}}
""")
        argv = ["/usr/sbin/nginx", "-c", config, "-e", f"{lab.folder}/{name}-start.log"]
        server = lab.start_client(name, argv) if at_client else lab.start_host(name, argv)
        address = CLIENT_V4 if at_client else HOST_V4
        lab.wait_listening(server, TLS_PORT, address)
        argv = ["h2load", "-n", "2000", "-c", "10", "-m", "10",
                f"https://{address}:{TLS_PORT}/f16384"]
        run = (lambda a, **k: lab.run_host(a, True, **k)) if at_client else lab.run_client
        text = run(argv, timeout_s=60).stdout.decode()
        require("2000 succeeded, 0 failed, 0 errored, 0 timeout" in text, text[-400:])
        require("status codes: 2000 2xx" in text, "answers other than 200")
        require(f"({2000 * 16384}) data" in text or f"{2000 * 16384}" in text.replace(",", ""),
                f"the bodies do not add up: {text[-300:]}")


GUNICORN_APP = """
def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read()
    else:
        body = b"g" * int(environ["PATH_INFO"].strip("/f") or 0)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@test(timeout_s=90, extra=True)
def gunicorn_workers(context):
    """Two kinds of workers; SIGHUP replaces them under load."""
    need_program("gunicorn")
    import hashlib  # pylint: disable=import-outside-toplevel
    lab = context.up()
    write_config(lab, "app.py", GUNICORN_APP)
    site = Site(lab, sizes=())
    for size in (0, 1, 10_000, 2_000_000):
        site.expect(f"f{size}", hashlib.sha256(b"g" * size).hexdigest(), size)
    for kind in (("-w", "3"), ("-w", "2", "-k", "gthread", "--threads", "4")):
        server = lab.start_host("gunicorn", ["/usr/bin/gunicorn", *kind, "-b", f"0.0.0.0:{PORT}",
                                             "--chdir", lab.folder, "--graceful-timeout", "10",
                                             "app:app"])
        lab.wait_listening(server, PORT, timeout_s=30)
        with Load(lab, site, names=["f0", "f1", "f10000"]) as load:
            load.wait_progress(10)
            os.kill(server.pid, signal.SIGHUP)
            load.wait_progress(15)
        load.check()
        body = os.urandom(2_000_000)
        path = os.path.join(lab.folder, "body")
        with open(path, "wb") as file:
            file.write(body)
        got = curl(lab, [f"http://{HOST_V4}:{PORT}/"], options=["--data-binary", f"@{path}", "-H",
                                                              "Expect:"])
        require(got == body, f"a POST of 2 MB: {len(got)} other bytes")
        server.stop(20)


@test(timeout_s=90, extra=True)
def stunnel_terminates(context):
    """TLS ends in an offloaded stunnel, which asks a server on kernel TCP."""
    need_program("stunnel4")
    lab = context.up()
    site = Site(lab)
    certificate, key = web.make_certificate(lab)
    backend = lab.start_client("backend", ["/usr/bin/python3", "-m", "http.server", "8001",
                                           "--directory", site.folder])
    lab.wait_listening(backend, 8001, CLIENT_V4)
    config = write_config(lab, "stunnel.conf", f"""
foreground = yes
pid =
[https]
accept = {TLS_PORT}
connect = {CLIENT_V4}:8001
cert = {certificate}
key = {key}
""")
    server = lab.start_host("stunnel", ["/usr/bin/stunnel4", config])
    lab.wait_listening(server, TLS_PORT)
    fetch_all(lab, site, rounds=1, base=f"https://{HOST_V4}:{TLS_PORT}",
              options=["--cacert", certificate])
    with Load(lab, site, port=TLS_PORT, certificate=certificate) as load:
        load.wait_progress(15, timeout_s=60)
    load.check()


@test(timeout_s=90, extra=True)
def wget_mirrors(context):
    """wget is offloaded and takes a whole site from a server on kernel TCP, kept-alive."""
    need_program("wget")
    need_program("lighttpd")
    lab = context.up()
    site = Site(lab)
    config = write_config(lab, "lighttpd.conf", f"""
server.document-root = "{site.folder}"
server.port = {PORT}
server.modules += ( "mod_dirlisting" )
dir-listing.activate = "enable"
""")
    server = lab.start_client("lighttpd", ["lighttpd", "-D", "-f", config])
    lab.wait_listening(server, PORT, CLIENT_V4)
    target = os.path.join(lab.folder, "mirror")
    lab.run_host(["wget", "-q", "-r", "-np", "-nH", "-P", target, f"http://{CLIENT_V4}:{PORT}/"], True,
                 timeout_s=60)
    for name in site.sums:
        with open(os.path.join(target, name), "rb") as file:
            site.check(name, file.read(), " as wget has it")
