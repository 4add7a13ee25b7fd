"""wrk and ab as offloaded clients of a server on kernel TCP."""

from harness import web
from harness.lab import CLIENT_V4
from harness.process import need_program
from harness.registry import test
from harness.web import PORT, Site, write_config

NGINX = "/usr/sbin/nginx"


def start_server(lab):
    need_program("nginx")
    site = Site(lab)
    config = write_config(lab, "nginx.conf", f"""
daemon off;
user root;
worker_processes 1;
pid {lab.folder}/nginx.pid;
error_log {lab.folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; server {{ listen {PORT}; root {site.folder}; }} }}
""")
    server = lab.start_client("nginx", [NGINX, "-c", config, "-e", f"{lab.folder}/nginx-start.log"])
    lab.wait_listening(server, PORT, CLIENT_V4)


@test(timeout_s=90)
def wrk_offloaded(context):
    """Two threads, 100 connections, files of 1 KB and 256 KB."""
    need_program("wrk")
    lab = context.up()
    start_server(lab)
    for size, connections in ((1024, 100), (262144, 20)):
        web.run_wrk(lab, f"http://{CLIENT_V4}:{PORT}/f{size}", offload=True, connections=connections)


@test(timeout_s=90)
def ab_offloaded(context):
    """Kept-alive and not; every byte is counted."""
    need_program("ab")
    lab = context.up()
    start_server(lab)
    url = f"http://{CLIENT_V4}:{PORT}"
    web.run_ab(lab, f"{url}/f1024", 1024, offload=True)
    web.run_ab(lab, f"{url}/f16384", 16384, requests=1000, keep_alive=False, offload=True)
    web.run_ab(lab, f"{url}/f5000000", 5_000_000, requests=20, connections=5, offload=True)
