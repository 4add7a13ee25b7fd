"""What an idle established connection costs in memory: of the engine and of an offloaded program.

Measured, not computed: proportional set sizes before and after some thousand connections, which
the program has accepted and read one byte from. So tables, pools, allocators and the memory that
both share are in it; the kernel's memory for a descriptor is not.
"""

import os
import time

from .lab import HOST_V4
from .process import allow_many_descriptors, tail, wait_until

PORT = 7070
WARM_UP = 5000  # so that pages and pools of the first use, and of many that come at once, do not count
TIMEOUT_S = 120
SETTLED_S = 3  # the engine gives buffers back to the system when they were not used for a second


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) * 1024


def measure(lab, connections, epoll=False):
    """(engine's, program's) bytes for each of so many idle connections; the lab is up."""
    allow_many_descriptors()
    program = os.path.join(os.path.realpath(lab.build), "bench/load/idle-connections")
    server = lab.start_host("idle-server", [program, "serve", str(PORT), *["epoll"] * epoll])
    lab.wait_listening(server, PORT)
    pids = lab.pnod_pid(), server.pid
    clients = []
    figures = []
    accepted = 0
    for count in (WARM_UP, connections):
        accepted += count
        clients.append(lab.start_client(f"idle-client-{count}", [
            program, "connect", HOST_V4, str(PORT), str(count)]))
        wait_until(lambda said=str(accepted): said in tail(server.log_path),
                   f"{accepted} idle connections", TIMEOUT_S, 0.1)
        time.sleep(SETTLED_S)
        figures.append([pss_bytes(pid) for pid in pids])
    for started in (*clients, server):
        started.stop()
    return tuple((after - before) / connections for before, after in zip(*figures))
