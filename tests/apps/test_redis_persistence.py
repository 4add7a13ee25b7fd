"""Redis forks while it serves (BGSAVE, BGREWRITEAOF), and replicates to and from kernel TCP."""

import contextlib
import os
import shutil
import threading

from harness.lab import CLIENT_V4, HOST_V4
from harness.process import Failure, require, wait_until
from harness.registry import test
from harness.servers import start_redis

PRELOADED = 20000


def value_of(number):
    return b"%d-" % number * (1 + number % 40)


def preload(client, count=PRELOADED):
    for start in range(0, count, 1000):
        client.connection.sendall(b"".join(client.encode("SET", f"pre:{i}", value_of(i))
                                           for i in range(start, start + 1000)))
        for _ in range(1000):
            require(client.reply() == b"OK", "preloading")


class Load:
    """Clients that write and read back until told to stop."""

    def __init__(self, redis, clients=8):
        self._stop = threading.Event()
        self.failures = []
        self.requests = [0] * clients
        self._threads = [threading.Thread(target=self._work, args=(redis, i), daemon=True)
                         for i in range(clients)]

    def _work(self, redis, number):
        try:
            with redis.client() as client:
                turn = 0
                while not self._stop.is_set():
                    key, value = f"load:{number}:{turn % 500}", value_of(turn)
                    require(client.command("SET", key, value) == b"OK", "SET under load")
                    require(client.command("GET", key) == value, f"{key} differs under load")
                    self.requests[number] += 2
                    turn += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(f"client {number}: {type(error).__name__}: {error}")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def check(self):
        require(not self.failures, "; ".join(self.failures[:2]))
        require(all(self.requests), "a client under load was never served")


def wait_background(redis, flag, status, timeout_s=40):
    """Wait until redis says that its child has ended, and well."""
    with redis.client(timeout=20) as client:
        wait_until(lambda: client.info("persistence")[flag] == "0", f"{flag} ends", timeout_s, 0.1)
        require(client.info("persistence")[status] == "ok", f"{status} is not ok")


@test(timeout_s=120)
def redis_bgsave_under_load(context):
    lab = context.up()
    redis = start_redis(lab)
    with redis.client() as client, Load(redis) as load:
        preload(client)
        for _ in range(3):
            before = sum(load.requests)
            client.command("BGSAVE")
            wait_background(redis, "rdb_bgsave_in_progress", "rdb_last_bgsave_status")
            wait_until(lambda: sum(load.requests) > before, "traffic goes on after BGSAVE")
        load.check()
    load.check()
    copy = os.path.join(lab.folder, "copy")
    os.makedirs(copy)
    shutil.copy(os.path.join(redis.folder, "dump.rdb"), copy)
    check_restored(lab, ["--dir", copy], None)
    redis.program.stop()
    lab.assert_nothing_left()


@test(timeout_s=120)
def redis_bgrewriteaof_under_load(context):
    lab = context.up()
    redis = start_redis(lab, options=("--appendonly", "yes", "--appendfsync", "no"))
    with redis.client(timeout=20) as client:
        with Load(redis) as load:
            preload(client)
            for _ in range(2):
                client.command("BGREWRITEAOF")
                wait_background(redis, "aof_rewrite_in_progress", "aof_last_bgrewrite_status")
            load.check()
        load.check()
        digest = client.command("DEBUG", "DIGEST")
        with contextlib.suppress(ConnectionError):
            client.command("SHUTDOWN", "NOSAVE")
    wait_until(lambda: not redis.program.alive(), "redis shuts down")
    lab.assert_nothing_left()
    check_restored(lab, ["--dir", redis.folder, "--appendonly", "yes"], digest)


def check_restored(lab, options, digest):
    """What redis wrote while offloaded, loaded by one on kernel TCP at the other end."""
    restored = start_redis(lab, port=7000, options=options, at_client=True)
    with restored.client(timeout=20) as client:
        for i in range(0, PRELOADED, 97):
            require(client.command("GET", f"pre:{i}") == value_of(i), f"pre:{i} was not saved right")
        if digest is not None:
            require(client.command("DEBUG", "DIGEST") == digest, "the restored data differ")
    restored.program.stop()


def check_replication(context, replica_at_client):
    """Full synchronisation of 30 MB, then a stream of writes; equal digests at the end."""
    lab = context.up()
    host = start_redis(lab)
    client_end = start_redis(lab, port=7001, at_client=True)
    master, replica = (host, client_end) if replica_at_client else (client_end, host)
    master_address = HOST_V4 if replica_at_client else CLIENT_V4
    with master.client(timeout=20) as to_master, replica.client(timeout=20) as to_replica:
        preload(to_master)
        for i in range(30):
            to_master.command("SET", f"big:{i}", os.urandom(1 << 20))
        to_replica.command("REPLICAOF", master_address, master.port)
        wait_until(lambda: to_replica.info("replication")["master_link_status"] == "up",
                   "the replica's link is up", 40, 0.1)
        with Load(master, clients=4) as load:
            wait_until(lambda: min(load.requests) > 500 or load.failures, "writes while replicating",
                       30)
        load.check()
        sent = int(to_master.info("replication")["master_repl_offset"])
        wait_until(lambda: int(to_replica.info("replication")["slave_repl_offset"]) >= sent,
                   "the replica has caught up", 20)
        if to_master.command("DEBUG", "DIGEST") != to_replica.command("DEBUG", "DIGEST"):
            raise Failure("master and replica differ")
        require(to_replica.command("DBSIZE") > PRELOADED, "the replica lacks keys")
    replica.program.stop()
    master.program.stop()
    lab.assert_nothing_left()


@test(timeout_s=120)
def redis_replica_on_kernel(context):
    check_replication(context, replica_at_client=True)


@test(timeout_s=120)
def redis_replica_on_pno(context):
    check_replication(context, replica_at_client=False)
