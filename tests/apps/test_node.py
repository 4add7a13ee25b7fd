"""Node.js: an http server with streams, and a cluster whose workers share the listener."""

import hashlib
import os
import signal

from harness import web
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import need_program, require, wait_until
from harness.registry import test
from harness.web import PORT, Load, Site, curl, fetch_all

SERVER = """
const http = require('http'), fs = require('fs'), path = require('path'), crypto = require('crypto');
const site = process.argv[2], port = Number(process.argv[3]);
http.createServer((request, response) => {
  if (request.method === 'POST') {
    const sum = crypto.createHash('sha256');
    request.on('data', part => sum.update(part));
    request.on('end', () => response.end(sum.digest('hex')));
    return;
  }
  if (request.url === '/pid') { response.end(String(process.pid)); return; }
  const file = path.join(site, request.url);
  response.setHeader('Content-Length', fs.statSync(file).size);
  fs.createReadStream(file).pipe(response);
}).listen(port);
"""

CLUSTER = """
const cluster = require('cluster');
cluster.schedulingPolicy = process.argv[4] === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;
if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork();
  cluster.on('exit', () => { if (!cluster.ending) cluster.fork(); });
  process.on('SIGTERM', () => {
    cluster.ending = true;
    for (const id in cluster.workers) cluster.workers[id].kill();
    cluster.disconnect(() => process.exit(0));
  });
} else {
""" + SERVER + "}\n"

CLIENT = """
const http = require('http'), crypto = require('crypto');
const agent = new http.Agent({keepAlive: true, maxSockets: 5});
let left = 0;
for (let turn = 0; turn < 20; turn++) for (const name of process.argv.slice(3)) {
  left++;
  http.get({agent, host: process.argv[2], port: 8001, path: '/' + name}, response => {
    const sum = crypto.createHash('sha256');
    response.on('data', part => sum.update(part));
    response.on('end', () => { console.log(name, sum.digest('hex')); if (--left === 0) agent.destroy(); });
  });
}
"""


def start(lab, site, text, *words):
    need_program("node")
    path = os.path.join(lab.folder, "server.js")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    server = lab.start_host("node", ["node", path, site.folder, str(PORT), *words])
    lab.wait_listening(server, PORT, timeout_s=30)
    return server


def check_serves(lab, site):
    fetch_all(lab, site, rounds=1)
    with Load(lab, site) as load:
        load.wait_progress(10)
    load.check()
    body = os.urandom(3_000_000)
    path = os.path.join(lab.folder, "body")
    with open(path, "wb") as file:
        file.write(body)
    got = curl(lab, [f"http://{HOST_V4}:{PORT}/"], options=["--data-binary", f"@{path}", "-H", "Expect:"])
    require(got.decode() == hashlib.sha256(body).hexdigest(), "a POST of 3 MB differs")


@test(timeout_s=90)
def node_http(context):
    lab = context.up()
    site = Site(lab)
    server = start(lab, site, SERVER)
    check_serves(lab, site)
    web.run_wrk(lab, f"http://{HOST_V4}:{PORT}/f1024", connections=20)
    server.kill()
    lab.assert_nothing_left()


def check_cluster(context, how):
    lab = context.up()
    site = Site(lab)
    start(lab, site, CLUSTER, how)
    check_serves(lab, site)

    def pids():
        return {curl(lab, [f"http://{HOST_V4}:{PORT}/pid"]) for _ in range(20)}
    workers = pids()
    require(workers, "no worker answers")
    victim = int(next(iter(workers)))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{victim}"), "the worker is gone")
    wait_until(lambda: web_answers(lab), "the cluster answers after a worker's death", 20)
    fetch_all(lab, site, rounds=1)


def web_answers(lab):
    return lab.run_client(["curl", "-sf", "--max-time", "3", f"http://{HOST_V4}:{PORT}/pid"],
                          check=False).returncode == 0


@test(timeout_s=120)
def node_cluster_round_robin(context):
    """The primary accepts and passes connections to its workers."""
    check_cluster(context, "robin")


@test(timeout_s=120)
def node_cluster_shared(context):
    """The primary passes the listener to its workers, which accept."""
    check_cluster(context, "shared")


@test(timeout_s=90)
def node_client(context):
    """Node is the client, with kept-alive connections, of a server on kernel TCP."""
    need_program("node")
    lab = context.up()
    site = Site(lab, sizes=(0, 1, 1024, 262144, 1_000_000))
    backend = lab.start_client("backend", ["/usr/bin/python3", "-m", "http.server", "8001",
                                           "--directory", site.folder])
    lab.wait_listening(backend, 8001, CLIENT_V4)
    path = os.path.join(lab.folder, "client.js")
    with open(path, "w", encoding="ascii") as file:
        file.write(CLIENT)
    said = lab.run_host(["node", path, CLIENT_V4, *site.sums], timeout_s=60).stdout.decode().splitlines()
    wanted = sorted(f"{name} {digest}" for name, digest in site.sums.items() for _ in range(20))
    require(sorted(said) == wanted, f"node got other bytes ({len(said)} of {len(wanted)} answers)")
