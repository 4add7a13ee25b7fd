"""Redis: threads for I/O, Lua, and a cluster of three nodes."""

import os
import re

from harness.lab import HOST_V4
from harness.process import Failure, require, wait_until
from harness.registry import test
from harness.resp import RedisError
from harness.servers import start_redis

NODES = (7001, 7002, 7003)
KEYS = 300


@test(timeout_s=90)
def redis_io_threads(context):
    """Two threads read, write and parse: values come back, and nothing fails under deep pipelines."""
    lab = context.up()
    redis = start_redis(lab, options=("--io-threads", "2", "--io-threads-do-reads", "yes"))
    clients = [redis.client(timeout=30) for _ in range(20)]
    for turn, size in enumerate((1, 1000, 16_384, 300_000)):
        values = [os.urandom(size) for _ in clients]
        for number, client in enumerate(clients):
            client.send("SET", f"v{turn}:{number}", values[number])
        for client in clients:
            require(client.reply() == b"OK", "SET")
        for number, client in enumerate(clients):
            client.send("GET", f"v{turn}:{(number + 1) % len(clients)}")
        for number, client in enumerate(clients):
            require(client.reply() == values[(number + 1) % len(clients)], f"GET of {size} bytes")
    for client in clients:
        client.close()
    lab.run_client(["redis-benchmark", "-h", HOST_V4, "-c", "50", "-P", "16", "-n", "20000", "-t",
                    "set,get,lrange_100", "--csv"], timeout_s=60)
    with redis.client() as client:
        require(client.info("stats")["total_error_replies"] == "0", "redis gave error replies")
        require(int(client.info("stats")["io_threaded_writes_processed"]) > 0,
                "no thread but the main one wrote")


@test()
def redis_lua(context):
    """Scripts with large results and arguments, and one that is killed while it loops."""
    lab = context.up()
    redis = start_redis(lab)
    with redis.client(timeout=20) as client, redis.client(timeout=20) as other:
        for i in range(1000):
            client.send("EVAL", "redis.call('SET',KEYS[1],ARGV[1]); return redis.call('GET',KEYS[1])",
                        1, f"k{i % 50}", f"value {i}")
        for i in range(1000):
            require(client.reply() == f"value {i}".encode(), f"EVAL {i}")
        big = client.command("EVAL", "return string.rep(ARGV[1], 500000)", 0, "0123456789")
        require(big == b"0123456789" * 500_000, "5 MB of a script's differ")
        name = client.command("SCRIPT", "LOAD", "local t = {} for i=1,ARGV[1] do t[i]=i end return t")
        require(client.command("EVALSHA", name, 0, 7999) == list(range(1, 8000)), "EVALSHA")
        client.command("CONFIG", "SET", "busy-reply-threshold", "100")
        client.send("EVAL", "while true do end", 0)

        def killed():
            try:
                return other.command("SCRIPT", "KILL") == b"OK"
            except RedisError as error:
                require("NOTBUSY" in str(error), str(error))
                return False
        wait_until(killed, "the looping script is killed", 15)
        try:
            raise Failure(f"the looping script returned {client.reply()!r}")
        except RedisError as error:
            require("killed" in str(error), f"it ended otherwise: {error}")


class Cluster:
    """Three nodes at the engine's address, each on ports of its own; clients that follow MOVED."""

    def __init__(self, lab):
        self.lab = lab
        self.nodes = {port: self.start(port) for port in NODES}
        addresses = [f"{HOST_V4}:{port}" for port in NODES]
        lab.run_client(["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"], timeout_s=60)
        for port in NODES:
            self.wait_state(port, "ok")
        self.clients = {}

    def start(self, port, options=()):
        return start_redis(self.lab, port=port, options=(
            *options, "--cluster-enabled", "yes", "--cluster-config-file", f"{self.lab.folder}/nodes-{port}.conf",
            "--cluster-node-timeout", "3000", "--cluster-announce-ip", HOST_V4,
            "--cluster-require-full-coverage", "no"))

    def wait_state(self, port, state):
        def reached():
            with self.nodes[port].client() as client:
                return f"cluster_state:{state}" in client.command("CLUSTER", "INFO").decode()
        wait_until(reached, f"node {port} says cluster_state:{state}", 40, 0.1)

    def client(self, port):
        if port not in self.clients:
            self.clients[port] = self.nodes[port].client()
        return self.clients[port]

    def command(self, *words):
        """Ask the first node, and whomever it names."""
        port = NODES[0]
        for _ in range(3):
            try:
                return self.client(port).command(*words)
            except RedisError as error:
                moved = re.match(r"MOVED \d+ [\d.]+:(\d+)", str(error))
                if not moved:
                    raise
                port = int(moved.group(1))
        raise Failure("MOVED more than twice")

    def close(self):
        for client in self.clients.values():
            client.close()
        self.clients = {}


@test(timeout_s=150)
def redis_cluster(context):
    """Three nodes speak to each other through the engine; one is killed, missed, and comes back."""
    lab = context.up()
    cluster = Cluster(lab)
    for i in range(KEYS):
        require(cluster.command("SET", f"key:{i}", f"value:{i}" * 50) == b"OK", "SET in the cluster")
    for i in range(KEYS):
        require(cluster.command("GET", f"key:{i}") == f"value:{i}".encode() * 50, f"key:{i} differs")
    held = [int(cluster.client(port).command("DBSIZE")) for port in NODES]
    require(sum(held) == KEYS and min(held) > 0, f"the nodes hold {held} of {KEYS} keys")
    cluster.client(NODES[2]).command("SAVE")
    cluster.close()
    folder = cluster.nodes[NODES[2]].folder
    cluster.nodes[NODES[2]].program.kill()

    def missed():
        with cluster.nodes[NODES[0]].client() as client:
            return b"fail" in b"".join(line for line in client.command("CLUSTER", "NODES").splitlines()
                                       if f":{NODES[2]}@".encode() in line)
    wait_until(missed, "the others miss the killed node", 30, 0.1)
    cluster.nodes[NODES[2]] = cluster.start(NODES[2], ("--dir", folder))
    for port in NODES:
        wait_until(lambda p=port: not failing(cluster, p), f"node {port} sees no node failing", 40, 0.1)
    for i in range(KEYS):
        require(cluster.command("GET", f"key:{i}") == f"value:{i}".encode() * 50,
                f"key:{i} differs after the node's return")
    cluster.close()


def failing(cluster, port):
    with cluster.nodes[port].client() as client:
        nodes = client.command("CLUSTER", "NODES")
        info = client.command("CLUSTER", "INFO")
    return b"fail" in nodes or b"cluster_state:ok" not in info
