"""How the tests start the servers that they test."""

import os

from .lab import HOST_V4
from .process import Failure, wait_until
from .resp import Redis, RedisError

REDIS_PORT = 6379
REDIS_OPTIONS = ("--save", "", "--appendonly", "no", "--protected-mode", "no", "--maxclients",
                 "12000", "--enable-debug-command", "yes", "--tcp-backlog", "4096")


class RedisServer:
    """A redis-server with its data in a folder of its own."""

    def __init__(self, lab, at_client, port, options, offload):
        self.lab = lab
        self.port = port
        self.at_client = at_client
        self.folder = os.path.join(lab.folder, f"redis-{len(lab.programs)}")
        os.makedirs(self.folder)
        argv = ["redis-server", "--port", str(port), "--dir", self.folder, "--bind", "*", "-::*",
                *REDIS_OPTIONS, *options]
        self.program = (lab.start_client("redis", argv) if at_client
                        else lab.start_host("redis", argv, offload))

    @property
    def pid(self):
        return self.program.pid

    def wait_ready(self, timeout_s=15.0):
        """Wait until it answers PING from the client's end."""
        def answers():
            if not self.program.alive():
                raise Failure(f"redis ended with status {self.program.popen.returncode}")
            try:
                with self.client(timeout=1.0) as client:
                    return client.command("PING") == b"PONG"
            except (OSError, RedisError):
                return False
        wait_until(answers, "redis answers PING", timeout_s)
        return self

    def client(self, address=None, timeout=10.0):
        """A connection from the client's end (to a redis at either end)."""
        if address is None:
            address = "127.0.0.1" if self.at_client else HOST_V4
        return Redis(self.lab.connect(self.port, address, timeout))


def start_redis(lab, port=REDIS_PORT, options=(), at_client=False, offload=True):
    return RedisServer(lab, at_client, port, options, offload).wait_ready()
